"""headway.toml: where it is looked for, what it says, and one sentence with a line for each mistake in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from headway.cli import settings as settings_module
from headway.cli.config_example import write_example
from headway.cli.config_file import CONFIG_BYTES_MAX
from headway.cli.settings import SETTINGS, Settings, key_of, read_settings
from headway.protocol.errors import WrongConfig, WrongSettings
from headway.protocol.topology import QueueLimits

LEVELS = {"named": "debug", "home": "error", "etc": "warning", "here": "info"}
SAID = {"queues", "pools", "remarks"}
PAGE = Path(__file__).parents[3] / "docs/reference/headway.toml"


@pytest.fixture
def read(tmp_path: Path):
    """Give a function that reads settings from a file with this text, and from these variables."""

    def read_file(text: str | bytes, **environment: str) -> Settings:
        file = tmp_path / "headway.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_settings({"HOME": str(tmp_path), "HEADWAY_CONFIG": str(file), **environment})

    return read_file


def test_every_setting_has_a_key():
    """Made of its name, and no two have the same."""
    keys = [key_of(name) for name in SETTINGS]
    assert (key_of("HEADWAY_HOME"), key_of("HEADWAY_WORKER_LEASE"), key_of("HEADWAY_DAGS")) == (
        "home",
        "worker.lease",
        "dags.folder",
    )
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z]+(\.[a-z_]+)?", key) for key in keys)


def test_a_file_says_what_the_environment_does_not(read):
    """The environment wins; an empty text counts as absent in both."""
    text = 'home = "/srv/h"\n[worker]\nlease = "10m"\nheartbeat = 2.5\ndrain = 30\n[dags]\nfolder = ""\nmemory = "1G"\n'
    settings = read(text, HEADWAY_WORKER_LEASE="20m", HEADWAY_WORKER_DRAIN="")
    assert (settings.home, settings.worker_lease, settings.worker_heartbeat) == (Path("/srv/h"), 1200.0, 2.5)
    assert (settings.worker_drain, settings.dags, settings.dags_memory) == (30.0, None, 1024**3)
    assert settings.database_url == "sqlite:////srv/h/headway.db"


def test_a_file_with_nothing_in_it_changes_nothing(read, tmp_path):
    """Nor does the null device, by which one does without."""
    assert read("# nothing\n", HEADWAY_CONFIG="/dev/null").queues is None
    without = read_settings({"HOME": str(tmp_path), "HEADWAY_CONFIG": "/dev/null"})
    assert read("# nothing\n").worker_lease == without.worker_lease


def test_a_file_is_found_by_name_then_at_home_then_for_the_machine(tmp_path, monkeypatch):
    """One of them and no other; never in the current folder."""
    places = {name: tmp_path / name / "headway.toml" for name in ("named", "home", "etc", "here")}
    for name, file in places.items():
        file.parent.mkdir()
        file.write_text(f'[log]\nlevel = "{LEVELS[name]}"\n')
    monkeypatch.setattr(settings_module, "SYSTEM_CONFIG", places["etc"])
    monkeypatch.chdir(places["here"].parent)
    home = {"HEADWAY_HOME": str(places["home"].parent)}
    named = {"HEADWAY_CONFIG": str(places["named"])}
    assert read_settings(home | named).config == places["named"]
    assert read_settings(home).log_level == "error"
    places["home"].unlink()
    assert (read_settings(home).log_level, read_settings(home).config) == ("warning", places["etc"])
    assert read_settings({"HOME": str(tmp_path)}).config == places["etc"]
    places["etc"].write_text('home = "/srv/h"\n')
    assert read_settings({}).home == Path("/srv/h")
    places["etc"].unlink()
    assert read_settings(home).config is None


def test_queues_and_pools_are_read(read):
    """With what is not said as of any other."""
    settings = read('[queues.io]\nttl = "90s"\nwindow = 7\n[queues.gpu]\n[pools.warehouse]\nslots = 4\n')
    assert settings.queues == {"io": QueueLimits(ttl_seconds=90.0, window=7), "gpu": QueueLimits()}
    assert settings.limits == settings.queues
    assert settings.pools == {"warehouse": 4}
    assert (read("").queues, read("").limits, read("[queues]\n").queues) == (None, {}, {})


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[worker\n", 1, "not TOML: Expected ']' at the end of a table declaration."),
        ("a = 1\n[log]\nb = [", 3, "not TOML: Invalid value."),
        (b"[log]\nlevel = '\xff'\n", 2, "not UTF-8: invalid start byte."),
        ("[worker]\nleese = 1\n", 2, "there is no key 'worker.leese' (did you mean 'worker.lease'?); there are home, "),
        ("\n[workers]\nlease = 1\n", 2, "there is no key 'workers'"),
        ("hom = '/x'\n", 1, "there is no key 'hom' (did you mean 'home'?)"),
        ("worker = 5\n", 1, "there is no key 'worker'"),
        ("[worker]\nlease = [1]\n", 2, "worker.lease must be text in quotes, or a number, and is a list."),
        ("[worker]\nlease = true\n", 2, "worker.lease must be text in quotes, or a number, and is true."),
        ("[worker.lease]\nx = 1\n", 1, "worker.lease must be text in quotes, or a number, and is a table."),
        ("[log]\n# level\nlevel = 3\n", 3, "log.level must be text in quotes, and is 3."),
        ("[broker]\nurl = 5\n", 2, "broker.url must be text in quotes, and is 5."),
        ("[worker]\nlease = 'soon'\n", 2, "worker.lease = 'soon' is not usable: write a duration like \"90s\" or"),
        ("worker.lease = 'soon'\n", 1, "worker.lease = 'soon' is not usable"),
        ("[log]\nlevel = 'loud'\n", 2, "log.level = 'loud' is not usable: use one of debug, info"),
        ("queues = 3\n", 1, "queues must be a table, [queues.NAME], and is 3."),
        ("[queues]\nio = 3\n", 2, "queues.io must be a table, [queues.io], and is 3."),
        ('[queues."Io"]\n', 1, "queue 'Io' is not a legal name: use a-z"),
        ('[queues.io]\nttl = "1w"\n', 2, "'1w' is not a duration"),
        ("[queues.io]\nttl = 0.5\n", 2, "queues.io.ttl = 0.5 is not usable: it may be from 1s to 49d."),
        ('[queues.io]\nttl = "50d"\n', 2, "queues.io.ttl = '50d' is not usable"),
        ("[queues.io]\nwindow = 0\n", 2, "queues.io.window must be a whole number from 1 to 100000, and is 0."),
        ('[queues.io]\nwindow = "9"\n', 2, "queues.io.window must be a whole number from 1 to 100000, and is '9'."),
        ("[queues.io]\nttl = 5\nslots = 9\n", 3, "there is no key 'slots'; there are ttl, window."),
        ("[pools.w]\n", 1, "pool 'w' has no slots: write slots = NUMBER."),
        ("[pools.w]\nslots = true\n", 2, "pools.w.slots must be a whole number from 1 to 1000000, and is true."),
        ("[pools.w]\nslot = 1\n", 2, "there is no key 'slot' (did you mean 'slots'?)"),
        ("# " + "x" * CONFIG_BYTES_MAX, None, f"it has more than {CONFIG_BYTES_MAX} bytes, and is no configuration."),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(read, tmp_path, text, line, message):
    """And says what there is instead."""
    with pytest.raises(WrongConfig) as raised:
        read(text)
    place = f"{tmp_path}/headway.toml" + (f":{line}" if line else "")
    assert str(raised.value).startswith(f"{place}: {message}")
    assert "\n" not in str(raised.value)


def test_a_key_that_is_not_seen_in_the_text_has_the_place_of_its_table(read, tmp_path):
    """Or of the file."""
    with pytest.raises(WrongConfig, match=rf"^{tmp_path}/headway.toml:1: there is no key 'worker.x'"):
        read("[worker]\n'x' = 1\n")
    with pytest.raises(WrongConfig, match=rf"^{tmp_path}/headway.toml: worker.lease must be"):
        read("worker = {lease = []}\n".replace("worker", "'worker'"))


@pytest.mark.parametrize(("make", "why"), [(lambda _: None, "No such file"), (Path.mkdir, "Is a directory")])
def test_a_named_file_must_be_there(tmp_path, make, why):
    """The sentence says how to do without."""
    file = tmp_path / "absent.toml"
    make(file)
    with pytest.raises(WrongSettings, match=rf"HEADWAY_CONFIG = '{file}' .*{why}.*/dev/null"):
        read_settings({"HOME": "/users/somebody", "HEADWAY_CONFIG": str(file)})


def test_the_environment_is_named_where_it_is_wrong(read):
    """Not the file, which says something else."""
    with pytest.raises(WrongSettings, match="HEADWAY_WORKER_LEASE = 'soon'"):
        read('[worker]\nlease = "5m"\n', HEADWAY_WORKER_LEASE="soon")


@pytest.mark.parametrize(
    ("url", "mode", "remarked"),
    [
        ("amqp://me:secret@host/", 0o644, True),
        ("amqp://me:secret@host/", 0o640, False),
        ("amqp://me@host/", 0o644, False),
    ],
)
def test_a_password_that_everybody_may_read_is_remarked_upon(read, tmp_path, url, mode, remarked):
    """Without repeating it."""
    read("")
    (tmp_path / "headway.toml").chmod(mode)
    remarks = read(f'[broker]\nurl = "{url}"\n').remarks
    assert len(remarks) == remarked
    assert all("holds a password" in remark and "secret" not in remark for remark in remarks)


def test_the_example_is_made_of_the_table():
    """It is stale? `make docs`."""
    assert PAGE.read_text("utf-8") == write_example()
    command = [sys.executable, "-m", "headway.cli.config_example"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == write_example()


def test_the_example_says_the_defaults(read):
    """As it is it changes nothing; with every line in force, still nothing but what it says of queues and pools."""
    plain = read("")
    assert read(write_example()) == plain
    lines = (re.sub(r"^# (?=\w+ = |\[)", "", line) for line in write_example().splitlines())
    full = read("\n".join(line.removeprefix("# ") if line.startswith("# #") else line for line in lines))
    assert full.queues == {"io": QueueLimits(window=100)}
    assert full.pools == {"warehouse": 4}
    said = {name: getattr(full, name) for name in plain.__struct_fields__ if name not in SAID}
    assert said == {name: getattr(plain, name) for name in said}
