"""Secrets in output: nothing of them is seen, wherever the output is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.worker.masking import HIDDEN, LINE_BYTES_MIN, Mask
from headway.worker.tailing import cut

LETTERS = st.sampled_from([b"a", b"b", b"\n", b"\xc3\xa4"])
VALUES = st.lists(st.lists(LETTERS, min_size=4, max_size=6).map(b"".join), min_size=1, max_size=3)
WRITES = st.lists(st.lists(LETTERS, max_size=12).map(b"".join), max_size=8)


def in_pieces(writes: list[bytes], mask: Mask) -> list[bytes]:
    """Return what is shown of output that is looked at after each write, as it is published."""
    shown, written, start = [], b"", 0
    for write in writes:
        written += write
        before = max(0, start - mask.context)
        end = max(start, before + cut(written[before:], mask, start - before))
        shown.append(mask.hide(written[before:], start - before, end - before))
        start = end
    before = max(0, start - mask.context)
    return [*shown, mask.hide(written[before:], start - before)]


def outside_of(values: list[bytes], data: bytes) -> bytes:
    """Return the bytes that belong to no occurrence of any value, found one by one."""
    hidden = {
        place
        for value in values
        for start in range(len(data))
        if data.startswith(value, start)
        for place in range(start, start + len(value))
    }
    return bytes(byte for place, byte in enumerate(data) if place not in hidden)


@given(VALUES, WRITES)
def test_pieces_show_what_the_whole_shows(values: list[bytes], writes: list[bytes]):
    """However it is written: no secret is cut, and nothing is lost or doubled."""
    mask = Mask(values)
    assert b"".join(in_pieces(writes, mask)) == mask.hide(b"".join(writes))


@given(VALUES, WRITES)
def test_all_of_a_value_is_hidden_and_nothing_else(values: list[bytes], writes: list[bytes]):
    """However values overlap each other, or themselves."""
    shown = b"".join(in_pieces(writes, Mask(values)))
    lines = [line.strip() for value in values if b"\n" in value for line in value.splitlines()]
    hidden = values + [line for line in lines if len(line) >= LINE_BYTES_MIN]
    assert shown.replace(HIDDEN, b"") == outside_of(hidden, b"".join(writes))


@pytest.mark.parametrize("data", [b"abcdefghij", b"abcdefabcdefghij"])
def test_values_that_overlap_are_hidden_as_one(data: bytes):
    """Of the later one nothing is left."""
    assert Mask([b"abcdef", b"defghij"]).hide(b"<" + data + b">").replace(HIDDEN, b"") == b"<>"


def test_without_secrets_nothing_is_hidden():
    """And nothing is held back."""
    assert Mask().hide(b"any thing") == b"any thing"
    assert Mask().settle(b"any thing") == 9


def test_the_lines_of_a_key_are_hidden_one_by_one():
    """Those that are long enough to be nothing else."""
    mask = Mask([b"-----BEGIN KEY-----\nMIIEvQIBADANBg\nyes\n"])
    assert mask.hide(b"  MIIEvQIBADANBg\nyes\n") == b"  ***\nyes\n"


def test_the_longer_of_two_secrets_is_hidden():
    """Where one begins with the other."""
    assert Mask([b"pass", b"password"]).hide(b"password pass") == b"*** ***"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"one\ntwo\nthr", 8),
        (b"loading: 40%", 12),
        (b"\xc3\xa4\xc3", 2),
        (b"x\xf0\x9f\x98", 1),
        (b"x\xf0\x9f\x98\x80", 5),
        (b"\xff\xff\xff", 3),
        (b"\x80\x80\x80\x80\x80", 5),
        (b"", 0),
        (b"one\nhunt", 4),
        (b"hunt", 0),
        (b"hunter-twelve", 13),
        (b"a\nhunter-twelve b", 2),
        (b"key: one\nline", 9),
        (b"key: one\nlin", 5),
        (b"key: two\nlinex", 9),
    ],
)
def test_output_is_cut_at_lines_or_else_at_characters(data: bytes, size: int):
    """Never behind where a secret may have begun that has not ended."""
    assert cut(data, Mask([b"hunter-twelve", b"one\nline"])) == size
