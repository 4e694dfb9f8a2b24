"""A disk that a test can fill: a small tmpfs in a mount namespace of the test's own, which nobody else sees."""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE_NEWNS = 0x00020000
BLOCK_BYTES = 65_536


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """Mount a disk of this size on a folder, for this thread and what it starts; skip where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("this test mounts a small disk, and only root may")
    libc, here = ctypes.CDLL(None, use_errno=True), Path.cwd()
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNS):
            pytest.skip(f"this test mounts a small disk: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder], check=True)
            yield
        finally:
            libc.setns(before, CLONE_NEWNS)
            os.chdir(here)
    finally:
        os.close(before)


def fill(folder: Path) -> Path:
    """Write to a disk until it is full, and return the file that is to be removed."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(BLOCK_BYTES)):
            pass
    return filler
