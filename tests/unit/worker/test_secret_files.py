"""Secrets by their names: what is read, and what is said of one that cannot be had."""

import os

import pytest

from headway.worker.secret_files import SECRET_BYTES_MAX, BadSecret, SecretFiles


def test_each_secret_is_a_file(tmp_path):
    """One newline at its end is not part of it."""
    (tmp_path / "a").write_text("value")
    (tmp_path / "b").write_text(" two\nlines \n\n")
    assert SecretFiles(tmp_path).resolve(["a", "b"]) == {"a": "value", "b": " two\nlines \n"}
    assert SecretFiles(tmp_path).resolve([]) == {}


def test_without_a_folder_there_are_none():
    """Which is no fault of a task that wants none."""
    assert SecretFiles().resolve([]) == {}
    found = SecretFiles().resolve(["a"])
    assert found == BadSecret("it wants the secret 'a', and this worker has none: HEADWAY_SECRETS is not set")


def test_a_value_that_was_changed_is_read_anew(tmp_path):
    """From the next attempt on."""
    secrets = SecretFiles(tmp_path)
    for value in ("first", "second"):
        (tmp_path / "a").write_text(value)
        assert secrets.resolve(["a"]) == {"a": value}


@pytest.mark.parametrize("data", [b"", b"\n", b"abc\n", b"x" * (SECRET_BYTES_MAX + 1), b"with\0nul"])
def test_what_cannot_be_masked_or_handed_over_is_refused(tmp_path, data):
    """With what is allowed."""
    (tmp_path / "a").write_bytes(data)
    assert SecretFiles(tmp_path).resolve(["a"]) == BadSecret(
        f"the secret 'a' in {tmp_path}/a is not usable: a secret has 4 to 8192 bytes, none of them NUL"
    )


@pytest.mark.parametrize("data", [b"four", b"four\n", b"x" * SECRET_BYTES_MAX + b"\n"])
def test_the_shortest_and_the_longest_are_taken(tmp_path, data):
    """Bounds included."""
    (tmp_path / "a").write_bytes(data)
    assert SecretFiles(tmp_path).resolve(["a"]) == {"a": data.decode().strip()}


def test_what_is_no_text_and_no_file_is_refused(tmp_path):
    """In a sentence; a pipe holds up nobody."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xff\xfe")
    os.mkfifo(tmp_path / "pipe")
    secrets = SecretFiles(tmp_path)
    assert secrets.resolve(["binary"]) == BadSecret(f"the secret 'binary' in {tmp_path}/binary is no text in UTF-8")
    assert "not usable" in secrets.resolve(["pipe"]).detail
    assert secrets.resolve(["no"]) == BadSecret(
        f"the secret 'no' cannot be read from {tmp_path}/no: No such file or directory"
    )
    (tmp_path / "folder").mkdir()
    assert secrets.resolve(["folder"]).detail.endswith("/folder: Is a directory")
