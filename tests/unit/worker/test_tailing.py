"""Which piece of a log comes next, while it is written and when it has ended."""

import os

import pytest

from headway.protocol.limits import LOG_CHUNK_BYTES_MAX
from headway.worker import tailing
from headway.worker.masking import Mask
from headway.worker.tailing import LogTail
from shopfloor import task


@pytest.fixture
def log(tmp_path):
    """Give the name of a log."""
    return tmp_path / "log"


def tail_of(log, *secrets):
    """Return a tail at the beginning of a log."""
    return LogTail(task(map_index=3, try_number=2), log, Mask(secrets))


def rest_of(tail):
    """Return all pieces that there are by now."""
    found = []
    while (chunk := tail.next_chunk()) is not None:
        found.append((chunk.offset, chunk.size, chunk.data, chunk.eof))
        if chunk.eof:
            break
    return found


def test_a_piece_names_its_attempt(log):
    """And its token, so that the logkeeper can check it."""
    log.write_text("x\n")
    chunk = tail_of(log).next_chunk()
    assert (chunk.run_id, chunk.task_id, chunk.map_index, chunk.try_number) == ("r", "task-t1", 3, 2)
    assert chunk.token == "t1"


def test_a_poll_begins_behind_those_before_it(log):
    """On the machine its log goes on, and what is stored of it counts from 0."""
    log.write_text("not\nnow\n")
    tail = LogTail(task(poll=2), log, Mask(()), 4)
    chunk = tail.next_chunk()
    assert (chunk.poll, chunk.offset, chunk.data) == (2, 0, "now\n")
    assert tail.next_chunk() is None


def test_what_is_new_is_the_next_piece(log):
    """A line that is not finished waits for its end, but not when it is all there is."""
    tail = tail_of(log)
    assert tail.next_chunk() is None
    log.write_text("one\ntw")
    assert rest_of(tail) == [(0, 4, "one\n", False), (4, 2, "tw", False)]
    assert tail.next_chunk() is None
    with log.open("a") as output:
        output.write("o\n")
    assert rest_of(tail) == [(6, 2, "o\n", False)]


def test_the_last_piece_says_so(log):
    """With what is left, or alone where all was said before; half a character is no text."""
    log.write_bytes(b"one\n\xc3")
    tail = tail_of(log)
    assert rest_of(tail) == [(0, 4, "one\n", False)]
    tail.is_complete = True
    assert rest_of(tail) == [(4, 1, "\ufffd", True)]
    again = tail_of(log)
    log.write_text("one\n")
    assert rest_of(again) == [(0, 4, "one\n", False)]
    again.is_complete = True
    assert rest_of(again) == [(4, 0, "", True)]


@pytest.mark.parametrize("size", [LOG_CHUNK_BYTES_MAX, LOG_CHUNK_BYTES_MAX + 1, 3 * LOG_CHUNK_BYTES_MAX])
def test_a_long_log_comes_in_pieces(log, size):
    """None is larger than it may be, and together they are the whole."""
    log.write_bytes(os.urandom(size // 2).hex().encode() + b"y" * (size % 2))
    tail = tail_of(log)
    tail.is_complete = True
    pieces = rest_of(tail)
    assert "".join(data for _, _, data, _ in pieces) == log.read_text()
    assert all(size <= LOG_CHUNK_BYTES_MAX for _, size, _, _ in pieces)
    assert [eof for *_, eof in pieces] == [False] * (len(pieces) - 1) + [True]


def test_a_secret_is_masked_though_it_comes_in_parts(log):
    """Its beginning waits; the places in the log stay those of the log."""
    tail = tail_of(log, b"hunter-twelve")
    log.write_text("key: hunter-")
    assert rest_of(tail) == [(0, 5, "key: ", False)]
    with log.open("a") as output:
        output.write("twelve\n")
    assert rest_of(tail) == [(5, 14, "***\n", False)]


@pytest.mark.parametrize(
    ("last", "shown"), [("x", "x"), ("é", "é"), ("hunter-twelve", "***"), ("aaaa" * LOG_CHUNK_BYTES_MAX, "***")]
)
def test_beyond_its_bound_the_log_stays_where_it_is(log, monkeypatch, last, shown):
    """The last piece says where that is, whatever stands at the bound."""
    monkeypatch.setattr(tailing, "LOG_BYTES_MAX", LOG_CHUNK_BYTES_MAX + 1)
    log.write_text("\n" * LOG_CHUNK_BYTES_MAX + last + "\n" * 2 * LOG_CHUNK_BYTES_MAX)
    *pieces, note = rest_of(tail_of(log, b"hunter-twelve", b"aaaa"))
    text = "".join(data for _, _, data, _ in pieces)
    assert text.strip("\n") == shown
    assert note[0] == sum(size for _, size, _, _ in pieces) < 3 * LOG_CHUNK_BYTES_MAX
    assert (note[1], note[3]) == (0, True)
    assert f"Only the first {note[0]} bytes are stored: all is in {log} on the worker's machine" in note[2]


def test_a_secret_that_overlaps_itself_without_end_holds_nothing_up(log):
    """It is hidden once, though it is longer than a piece."""
    log.write_text("a" * 3 * LOG_CHUNK_BYTES_MAX + "b\n")
    tail = tail_of(log, b"aaaa")
    pieces = rest_of(tail)
    assert "".join(data for _, _, data, _ in pieces) == "***b\n"


def test_what_a_child_made_of_its_log_does_no_harm(log, tmp_path):
    """A pipe that nobody writes to, a folder, a link to nowhere; a file that became shorter."""
    os.mkfifo(log)
    assert tail_of(log).next_chunk() is None
    assert tail_of(tmp_path).next_chunk() is None
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert tail_of(tmp_path / "loop").next_chunk() is None
    log.unlink()
    log.write_text("12345")
    tail = tail_of(log)
    tail.next_chunk()
    log.write_text("")
    assert tail.next_chunk() is None
