"""The spool: in order, whole or not at all, and no reason for a worker to stop."""

import logging

from headway.worker.spool import Spool
from shopfloor import finished


def test_what_was_written_is_read_in_order(tmp_path):
    """By the next boot, with the ids under which it is published."""
    spool = Spool(tmp_path)
    for number in range(12):
        spool.write(f"m{number}", finished(f"t{number}"))
    again = Spool(tmp_path)
    assert again.load() == [(f"m{number}", finished(f"t{number}")) for number in range(12)]
    again.write("m99", finished("t99"))
    assert Spool(tmp_path).load()[-1] == ("m99", finished("t99"))


def test_order_does_not_depend_on_the_clock(tmp_path):
    """An entry of the future is before what comes after it."""
    spool = Spool(tmp_path)
    spool.write("m1", finished("t1"))
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / f"{9 * 10**18:020d}-m1.json")
    again = Spool(tmp_path)
    again.load()
    again.write("m2", finished("t2"))
    assert [message_id for message_id, _ in Spool(tmp_path).load()] == ["m1", "m2"]


def test_what_is_removed_is_gone(tmp_path):
    """Once; what was never there, or is gone already, is no fault."""
    spool = Spool(tmp_path)
    spool.write("m1", finished())
    spool.sync("m1")
    spool.remove("m1")
    spool.remove("m1")
    spool.sync("m1")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_set_aside(tmp_path, caplog):
    """With a sentence, and the others are read; half an entry of a killed boot is removed."""
    Spool(tmp_path).write("m1", finished())
    (tmp_path / "00000000000000000001-m2.json").write_text("{")
    (tmp_path / "00000000000000000002-m3.json").write_text('{"kind":"online"}')
    (tmp_path / "nonsense.json").write_bytes(next(tmp_path.glob("*-m1.json")).read_bytes())
    (tmp_path / "m4.half").write_text("{")
    assert [message_id for message_id, _ in Spool(tmp_path).load()] == ["m1"]
    assert len(list(tmp_path.glob("*.bad"))) == 3
    assert not (tmp_path / "m4.half").exists()
    assert caplog.text.count("is unreadable") == 3


def test_what_the_disk_does_not_give_is_kept_for_a_later_boot(tmp_path, caplog):
    """Its content may be whole: a failing disk or a missing right says nothing about it."""
    Spool(tmp_path).write("m1", finished())
    entry = tmp_path / "00000000000000000003-m2.json"
    entry.mkdir()
    assert [message_id for message_id, _ in Spool(tmp_path).load()] == ["m1"]
    assert entry.exists()
    assert "m2.json cannot be read (Is a directory)" in caplog.text


def test_a_full_disk_is_a_sentence(tmp_path, caplog):
    """The entry lives in memory alone: the worker goes on."""
    folder = tmp_path / "spool"
    spool = Spool(folder)
    folder.rmdir()
    with caplog.at_level(logging.ERROR):
        spool.write("m1", finished())
    assert "cannot be spooled" in caplog.text
    assert "No such file or directory" in caplog.text
    spool.sync("m1")
    spool.remove("m1")


def test_a_spool_that_cannot_be_synced_is_a_sentence(tmp_path, caplog):
    """Somebody removed the file."""
    spool = Spool(tmp_path)
    spool.write("m1", finished())
    next(tmp_path.iterdir()).unlink()
    spool.sync("m1")
    assert "cannot be synced" in caplog.text
    spool.remove("m1")
