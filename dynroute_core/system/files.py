"""Files written whole or not at all, and read only where they are regular ones of bounded size."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from dynroute_core.system.errors import BlockedError


def visible(folder: Path, pattern: str) -> list[Path]:
    """The paths that a pattern below a folder names, in order.

    Hidden ones, and those in hidden folders, are left out: editors and systems leave them beside files of ours, such as
    `.#model.py` (a link to nowhere), `._image.png` and `.ipynb_checkpoints`.
    """
    found = folder.glob(pattern)
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def make_folder(folder: Path, step: str = "Choose another --out folder.") -> None:
    """Makes a folder and those above it. step: what to do where that cannot be. Raises `BlockedError` there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BlockedError(f"cannot make {folder}: {error.strerror or error}. {step}") from error


def write_whole(path: Path, content: bytes, *, settle: bool = True) -> None:
    """Writes a file whole or not at all: aside, synced, renamed over the old one.

    settle: wait until the renaming too is on the disk, so that no power cut undoes it and keeps what is written after;
    without it, `sync_folder` has to follow. Raises `BlockedError` where the disk has no room; the old file is then
    still there.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = _create_aside(path)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise BlockedError(
            f"cannot write {path}: {error.strerror or error}. The previous file, if any, is untouched; "
            "free some space or choose another --out folder, then run the same command again."
        ) from error
    except BaseException:
        if name:
            Path(name).unlink(missing_ok=True)
        raise
    if settle:
        sync_folder(path.parent)


def _create_aside(path: Path) -> tuple[int, str]:
    """A new temporary file beside `path`, open for writing, and its name."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    # 0666 less the umask, as any program's: in a shared folder, pictures of licensed data may be nobody else's to read.
    return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), str(aside)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, as far as its file system can tell.

    Raises `BlockedError` where the disk fails.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no syncing of folders
            return
        raise BlockedError(
            f"cannot write to {folder}: {error.strerror or error}. What was written last may be lost: look at the "
            "disk, then run the same command again."
        ) from error


def remove_stale(folder: Path, names: Iterable[str] = ("*",)) -> int:
    """Removes the temporary files that a killed `write_whole` left in `folder` and below; returns how many.

    names: of the files that were to be written, patterns allowed; only who may write a file may call its rest stale.
    """
    stale = [path for name in names for path in folder.rglob(f".{name}.*.tmp") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


MAX_FILE_MB = 64


def open_regular(path: Path, *, most_mb: int) -> io.BufferedReader:
    """A regular file of at most `most_mb` MB, open for reading bytes. Raises OSError for everything else."""
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no file can have such a name") from error
    try:
        facts = os.fstat(handle)
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if facts.st_size > most_mb << 20:
            raise OSError(errno.EFBIG, f"it has {facts.st_size >> 20} MB, at most {most_mb} MB are read")
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def read_regular(path: Path, *, most_mb: int = MAX_FILE_MB) -> bytes:
    """The bytes of a regular file. Raises OSError as `open_regular`."""
    with open_regular(path, most_mb=most_mb) as file:
        content = file.read((most_mb << 20) + 1)
    if len(content) > most_mb << 20:  # it grew, or is of a kind whose size is not known before
        raise OSError(errno.EFBIG, f"it has more than {most_mb} MB")
    return content


def read_file(path: Path) -> bytes:
    """The bytes of a run's file; raises BlockedError where it is missing, unreadable, no file or absurdly large."""
    try:
        return read_regular(path)
    except OSError as error:
        raise BlockedError(f"cannot read {path}: {error.strerror or error}. Run the row first.") from error
