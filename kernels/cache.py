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

OTHERS_WRITE = stat.S_IWOTH
OTHERS = stat.S_IWGRP | stat.S_IWOTH


def folder() -> Path:
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch_extensions"


def make(target: Path) -> None:
    """The cache folder; one that is there keeps its permissions."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """The path at which to make a library, in a folder of its own; afterwards it is moved to its place."""
    make(target.parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{target.stem}_", dir=target.parent))
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
