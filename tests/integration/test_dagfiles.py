"""A folder of DAG files against what the scheduler knows, with real files and the real parser."""

import os
from pathlib import Path

import pytest

from headway.protocol.dag_events import DagVersion
from headway.protocol.errors import Unavailable, WrongSettings
from headway.scheduler.dagfiles import DagFolder, Known, Look

DAG = "from headway import DAG, shell\nwith DAG({name!r}) as dag:\n    shell('a', {script!r})\n"


class Shelf:
    """Where values go, and what was published; `known` follows as the scheduler's answer would."""

    def __init__(self, folder: Path) -> None:
        self.dags = DagFolder(folder)
        self.values: dict[str, bytes] = {}
        self.known: dict[str, tuple[str, str]] = {}
        self.away = False

    def add_dag_value(self, digest: str, encoded: bytes) -> None:
        """Keep a value, unless the store is away."""
        if self.away:
            raise Unavailable(what="the store", detail="away")
        self.values[digest] = encoded

    def look(self, *, answered: bool = True) -> Look:
        """Look at the folder once."""
        published: list[DagVersion] = []
        known: Known = dict(self.known)  # type: ignore[assignment]
        look = self.dags.look(self, known, published.append)
        assert tuple(published) == look.changed
        if answered:
            self.known.update({one.dag_id: (one.digest, one.file) for one in published})
        return look


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Give a folder with two DAG files."""
    write(tmp_path / "a.py", "alpha", "true")
    write(tmp_path / "deep/b.py", "beta", "true")
    return Shelf(tmp_path)


def write(path: Path, name: str, script: str) -> None:
    """Write a DAG file, newer than any before it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(DAG.format(name=name, script=script))
    touch(path)


def touch(path: Path) -> None:
    """Let a file be changed at a time of its own, however fast the test runs."""
    at = path.stat().st_mtime_ns + 1_000_000 * (1 + len(path.read_bytes()))
    os.utime(path, ns=(at, at))


def ids(versions: tuple[DagVersion, ...]) -> list[str]:
    """Return DAG ids."""
    return [one.dag_id for one in versions]


def test_new_dags_are_stored_and_published(shelf: Shelf, tmp_path: Path):
    """Each with its value's digest and its file relative to the folder; the next look finds nothing new."""
    look = shelf.look()
    assert [(one.dag_id, one.file, one.task_count) for one in look.changed] == [
        ("alpha", "a.py", 1),
        ("beta", "deep/b.py", 1),
    ]
    assert shelf.values.keys() == {one.digest for one in look.changed}
    again = shelf.look()
    assert (ids(again.found), again.changed, again.problems) == (["alpha", "beta"], (), ())
    assert DagFolder(tmp_path).look(shelf, shelf.known, pytest.fail).changed == ()  # type: ignore[arg-type]


def test_a_changed_file_is_one_new_version(shelf: Shelf, tmp_path: Path):
    """A new comment is none."""
    shelf.look()
    write(tmp_path / "a.py", "alpha", "false")
    assert ids(shelf.look().changed) == ["alpha"]
    (tmp_path / "a.py").write_text((tmp_path / "a.py").read_text() + "# a comment\n")
    touch(tmp_path / "a.py")
    assert shelf.look().changed == ()


def test_an_event_that_was_lost_is_made_again(shelf: Shelf):
    """What is known still differs, so the next look says so again, without reading the file anew."""
    shelf.look(answered=False)
    assert ids(shelf.look().changed) == ["alpha", "beta"]


def test_a_store_that_is_away_is_asked_again(shelf: Shelf):
    """The file counts as unread."""
    shelf.away = True
    with pytest.raises(Unavailable):
        shelf.look()
    shelf.away = False
    assert ids(shelf.look().changed) == ["alpha", "beta"]


def test_a_module_that_files_import_makes_them_be_read_again(shelf: Shelf, tmp_path: Path):
    """Any of them may import it."""
    (tmp_path / "_scripts.py").write_text("SCRIPT = 'true'\n")
    importing = (
        DAG.format(name="gamma", script="x")
        .replace("'x'", "SCRIPT")
        .replace("shell\n", "shell\nfrom _scripts import SCRIPT\n")
    )
    (tmp_path / "c.py").write_text(importing)
    assert "gamma" in ids(shelf.look().changed)
    (tmp_path / "_scripts.py").write_text("SCRIPT = 'false'\n")
    touch(tmp_path / "_scripts.py")
    assert ids(shelf.look().changed) == ["gamma"]


def test_a_document_is_read_again_when_what_it_calls_has_changed(shelf: Shelf, tmp_path: Path):
    """Its value holds the digest of that."""
    (tmp_path / "_jobs.py").write_text("def f(): ...\n")
    (tmp_path / "c.dag.json").write_text('{"dag_id": "gamma", "tasks": [{"task_id": "a", "python": "_jobs.py:f"}]}')
    assert "gamma" in ids(shelf.look().changed)
    (tmp_path / "_jobs.py").write_text("def f(): pass\n")
    touch(tmp_path / "_jobs.py")
    assert ids(shelf.look().changed) == ["gamma"]


def test_a_faulty_file_hinders_no_other(shelf: Shelf, tmp_path: Path):
    """Its fault has a line, and what was known of its DAG stays."""
    shelf.look()
    (tmp_path / "a.py").write_text("from headway import DAG\nDAG(\n")
    touch(tmp_path / "a.py")
    write(tmp_path / "deep/b.py", "beta", "false")
    look = shelf.look()
    assert ids(look.changed) == ["beta"]
    (problem,) = look.problems
    assert str(problem).startswith(f"{tmp_path}/a.py:2: ")
    assert shelf.look().problems == look.problems


def test_an_id_that_two_files_claim_is_a_fault_of_both(shelf: Shelf, tmp_path: Path):
    """Also where only one of them was read anew; nothing changes until then."""
    shelf.look()
    write(tmp_path / "c.py", "alpha", "false")
    look = shelf.look()
    assert (ids(look.found), look.changed) == (["beta"], ())
    assert [problem.file for problem in look.problems] == [f"{tmp_path}/a.py", f"{tmp_path}/c.py"]
    (tmp_path / "c.py").unlink()
    assert shelf.look().problems == ()


def test_without_a_folder_nothing_is_found(tmp_path: Path):
    """The setting is named."""
    with pytest.raises(WrongSettings, match="HEADWAY_DAGS"):
        Shelf(tmp_path / "no").look()
