"""Names of workers: stable, unique on a machine, and free again when their worker ends."""

import pytest

from headway.protocol.errors import InvalidName, WorkerNameTaken, WrongSettings
from headway.worker import naming
from headway.worker.naming import hold_name


def test_a_wanted_name_is_held(tmp_path):
    """By one at a time."""
    with hold_name(tmp_path, "w", "host") as name:
        assert name == "w"
        with pytest.raises(WorkerNameTaken, match="'w'"), hold_name(tmp_path, "w", "host"):
            pass
    with hold_name(tmp_path, "w", "host") as name:
        assert name == "w"


def test_without_a_wish_it_is_the_hosts_first_free_number(tmp_path):
    """A number that is let go is taken by the next."""
    with hold_name(tmp_path, None, "db1.example.com") as first:
        with hold_name(tmp_path, None, "db1.example.com") as second:
            assert (first, second) == ("db1-1", "db1-2")
        with hold_name(tmp_path, None, "db1.example.com") as third:
            assert third == "db1-2"


@pytest.mark.parametrize(
    ("host", "name"), [("häuser_1", "h-user_1-1"), ("-x", "x-1"), ("...", "worker-1"), ("x" * 99, "x" * 56 + "-1")]
)
def test_a_host_may_be_called_anything(tmp_path, host, name):
    """What is illegal in names is left out."""
    with hold_name(tmp_path, None, host) as found:
        assert found == name


def test_a_name_must_be_legal(tmp_path):
    """It becomes the name of a file, and of a queue."""
    with pytest.raises(InvalidName, match="worker name"), hold_name(tmp_path, "../x", "host"):
        pass


def test_a_home_that_cannot_be_written_is_a_setting_to_mend(tmp_path):
    """In a sentence that names it."""
    home = tmp_path / "file"
    home.write_text("")
    with pytest.raises(WrongSettings, match="HEADWAY_HOME"), hold_name(home, None, "host"):
        pass


def test_a_machine_has_room_for_so_many_workers(tmp_path, monkeypatch):
    """Beyond that somebody has to say what is meant."""
    monkeypatch.setattr(naming, "_NUMBERS_MAX", 1)
    with hold_name(tmp_path, None, "h"), pytest.raises(WorkerNameTaken, match="h-1"), hold_name(tmp_path, None, "h"):
        pass
