"""A lock on a folder, which guards a run at work."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dynroute_core.system.errors import BlockedError

LOCK = ".lock"
_held: set[int] = set()  # the open lock files of this process


@contextmanager
def locked(folder: Path, *, name: str = LOCK, wait: bool = False) -> Iterator[None]:
    """Holds a lock on a folder, which the system frees however the process ends.

    wait: for another process that holds it, where otherwise BlockedError says so; without limit. Raises BlockedError
    also where the folder cannot be written or its file system has no locks.
    """
    try:
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BlockedError(f"cannot write to {folder}: {error.strerror}. Choose another folder.") from error
    _held.add(handle)
    try:
        _lock(handle, folder, wait)
        yield
    finally:
        if handle in _held:  # else this is a forked child, whose copy is closed
            _held.remove(handle)
            os.close(handle)


def _lock(handle: int, folder: Path, wait: bool) -> None:
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not wait:
                raise BlockedError(
                    f"another process is at work on {folder}. Wait for it to end, then run this again."
                ) from error
            print(f"waiting for another process at work on {folder}", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        raise BlockedError(
            f"cannot lock {folder}: {error.strerror}. Choose a folder on a file system that has locks."
        ) from error


def _let_go() -> None:
    """In a forked child, such as a data worker: it may outlive a killed parent by seconds, and must not keep the lock
    that long."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)
