"""Where compiled libraries are kept, and whether one found there may be loaded: loading one runs it.

TORCH_EXTENSIONS_DIR, else torch_extensions in XDG_CACHE_HOME or ~/.cache, made for its owner alone. A library is loaded
only where this user or root owns it and nobody else can write it, nor put another in its place.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BuildError(RuntimeError):
    """Kernels cannot be built or loaded here; the text says what is missing and what to do."""


OTHERS_WRITE = stat.S_IWOTH
NEXT_STEP = "Name a folder of your own that can be written in TORCH_EXTENSIONS_DIR."
OTHERS = stat.S_IWGRP | stat.S_IWOTH


def folder() -> Path:
    """The cache folder, there or not. Raises BuildError where neither a variable nor a home names one."""
    try:
        if given := os.environ.get("TORCH_EXTENSIONS_DIR"):
            return Path(given).expanduser()
        if given := os.environ.get("XDG_CACHE_HOME"):
            return Path(given).expanduser() / "torch_extensions"
        return Path.home() / ".cache" / "torch_extensions"
    except RuntimeError as error:  # no HOME, and no such user
        raise BuildError(f"no folder for compiled libraries: {error} {NEXT_STEP}") from error


def make(target: Path) -> None:
    """The cache folder; one that is there keeps its permissions. Raises BuildError where it cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BuildError(f"cannot make {target}: {error.strerror}. {NEXT_STEP}") from error


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """The path at which to make a library, in a folder of its own; afterwards it is moved to its place."""
    make(target.parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{target.stem}_", dir=target.parent))
    except OSError as error:
        raise BuildError(f"cannot write to {target.parent}: {error.strerror}. {NEXT_STEP}") from error
    try:
        yield folder / target.name
        place(folder / target.name, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(made: Path, target: Path) -> None:
    """Moves a library into its place, whole, writable by its owner alone whatever the umask."""
    made.chmod(made.stat().st_mode & ~OTHERS)
    os.replace(made, target)


def danger(library: Path) -> str:
    """What speaks against loading a library; "" where nothing does.

    A group that may write the folder is trusted (many systems give each user a group of its own); in a folder with the
    sticky bit, such as /tmp, everybody may write, but replaces only files of his own.
    """
    for path in (library, library.parent):
        facts = path.stat()
        if facts.st_uid not in (os.getuid(), 0):
            return f"{path} belongs to user {facts.st_uid}"
        if facts.st_mode & OTHERS_WRITE and not (path.is_dir() and facts.st_mode & stat.S_ISVTX):
            return f"every user of this machine can write {path}"
    return ""


def refuse(path: Path) -> None:
    """Raises BuildError for a library that somebody else may have put there."""
    if against := danger(path):
        raise BuildError(
            f"{path} is not loaded, since {against}, and loading it would run it. Delete it, and name a folder of your "
            "own in TORCH_EXTENSIONS_DIR."
        )


def sources(folder: Path, pattern: str) -> list[Path]:
    """The source files that a pattern below a folder names, in order; hidden ones, which editors and systems leave, are
    none."""
    return sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
