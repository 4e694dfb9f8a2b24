"""What a child wrote: the log's name and tail, and the JSON for other tasks."""

import os

import msgspec
import pytest

from headway.protocol.limits import OUTPUT_BYTES_MAX, TAIL_BYTES_MAX
from headway.worker.masking import Mask
from headway.worker.output import BadOutput, log_path, read_tail, take_output
from shopfloor import task


def test_a_log_is_found_by_run_task_and_try(tmp_path):
    """And by its index where the task is mapped."""
    assert log_path(tmp_path, task()) == tmp_path / "logs/r/task-t1.1.log"
    assert log_path(tmp_path, task(map_index=3, try_number=2)) == tmp_path / "logs/r/task-t1.3.2.log"


def test_the_tail_is_the_last_bytes_as_text(tmp_path):
    """Cut at four kilobytes; what is no text is replaced."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * TAIL_BYTES_MAX + b"end \xff\0 \xc3\xa4\n")
    tail = read_tail(path, Mask())
    assert tail.endswith("x" * 10 + "end \ufffd\ufffd ä\n")
    assert len(tail.encode()) <= TAIL_BYTES_MAX + 4


@pytest.mark.parametrize("beyond", range(1, 13))
def test_no_part_of_a_secret_is_in_the_tail(tmp_path, beyond):
    """Wherever the tail begins: of a secret that stands there nothing is left."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100 + b"hunter-twelve" + b"y" * (TAIL_BYTES_MAX - beyond))
    assert read_tail(path, Mask([b"hunter-twelve"])) == "y" * (TAIL_BYTES_MAX - beyond)


def test_a_tail_within_a_secret_is_hidden(tmp_path):
    """And says so: only an empty log has an empty tail."""
    path = tmp_path / "log"
    path.write_bytes(b"x" + b"key" * TAIL_BYTES_MAX)
    assert read_tail(path, Mask([b"key" * TAIL_BYTES_MAX])) == "***"
    path.write_bytes(b"")
    assert read_tail(path, Mask([b"key"])) == ""


def test_a_secret_within_the_tail_is_hidden(tmp_path):
    """All of it."""
    path = tmp_path / "log"
    path.write_bytes(b"the password is hunter-twelve\n")
    assert read_tail(path, Mask([b"hunter-twelve"])) == "the password is ***\n"


def test_a_log_that_is_not_there_has_no_tail(tmp_path):
    """Nor has what is no file."""
    assert read_tail(tmp_path / "no", Mask()) == ""
    assert read_tail(tmp_path, Mask()) == ""


def test_an_output_is_taken(tmp_path):
    """As it was written, and its file removed."""
    path = tmp_path / "out"
    path.write_text(' {"rows": [1, 2]}\n')
    assert take_output(path) == msgspec.Raw(b'{"rows": [1, 2]}')
    assert not path.exists()


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_output_is_none(tmp_path, text):
    """As is one that was never written."""
    path = tmp_path / "out"
    assert take_output(path) is None
    path.write_text(text)
    assert take_output(path) is None


@pytest.mark.parametrize("data", [b"rows: 1", b"{", b"[1] [2]", b"NaN", b'"\xff"', b"[" * 5000])
def test_an_output_that_is_no_json_is_bad(tmp_path, data):
    """In a sentence."""
    path = tmp_path / "out"
    path.write_bytes(data)
    found = take_output(path)
    assert isinstance(found, BadOutput)
    assert found.detail.startswith("what it wrote to HEADWAY_OUTPUT is no JSON: ")
    assert not path.exists()


def test_the_largest_output_is_taken_and_a_larger_one_is_bad(tmp_path):
    """The sentence says what to do instead."""
    path = tmp_path / "out"
    path.write_text(f'"{"x" * (OUTPUT_BYTES_MAX - 2)}"')
    assert isinstance(take_output(path), msgspec.Raw)
    path.write_text(f'"{"x" * (OUTPUT_BYTES_MAX - 1)}"')
    found = take_output(path)
    assert isinstance(found, BadOutput)
    assert found.detail.startswith(f"it wrote {OUTPUT_BYTES_MAX + 1} bytes to HEADWAY_OUTPUT, and may write 65536")


def test_what_is_no_file_is_bad(tmp_path):
    """A pipe must not hold us, nor a folder, nor a link to nowhere that we may read."""
    pipe, folder, loop = tmp_path / "pipe", tmp_path / "folder", tmp_path / "loop"
    os.mkfifo(pipe)
    folder.mkdir()
    loop.symlink_to(loop)
    assert take_output(pipe) == BadOutput("what it left at HEADWAY_OUTPUT is no file")
    assert take_output(folder) == BadOutput("what it left at HEADWAY_OUTPUT is no file")
    assert isinstance(take_output(loop), BadOutput)
