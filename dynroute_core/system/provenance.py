"""Which code a run is made with: the commit, and a hash of every source that can change a number."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.system.files import visible


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """The code of a run. dirty: tracked files differed from the commit. hash: of the sources that make numbers."""

    commit: str
    dirty: bool
    hash: str


def source_facts() -> SourceFacts:
    """The code as it is now."""
    revision, dirty = commit()
    return SourceFacts(commit=revision, dirty=dirty, hash=source_hash())


def commit() -> tuple[str, bool]:
    """(git commit of the source, whether tracked files differ from it); ("unknown", False) outside its own checkout."""
    root = Path(__file__).resolve().parents[2]

    # GIT_DIR and its like, set in hooks and by `git rebase --exec`, would name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, env=environment)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown", False  # installed below some other checkout
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", False


SOURCES = (".py", ".cpp", ".h", ".cu", ".cuh")


def source_hash(folders: Iterable[str] = ("dynroute_core", "kernels")) -> str:
    """sha256 over every source file of the core and its kernels, names included: what can change a number."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(_sources(root / folder)):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    """Source files below a folder."""
    for path in visible(folder, "**/*"):
        if path.suffix in SOURCES and path.is_file():
            yield path
