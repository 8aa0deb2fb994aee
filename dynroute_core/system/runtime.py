"""What every stage needs from the machine: errors with an exit code, whole files, device, seeds, provenance.

Holds nothing of the paper. Imports torch only inside the functions that need it, so that `reproduce.py --help`
answers at once.
"""

from __future__ import annotations

import ctypes
import difflib
import errno
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LONGEST_LIST = 100  # of names in an error
EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_BLOCKED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


class DynrouteError(Exception):
    """An error meant for the user: its text says what was given, what is allowed and what to do next."""

    exit_code = EXIT_FAILED


class UsageError(DynrouteError, ValueError):
    """A row, profile, option or setting that does not exist or does not fit."""

    exit_code = EXIT_USAGE


class BlockedError(DynrouteError):
    """The run cannot start or go on with what is on this machine: data, weights or disk space are missing or broken."""

    exit_code = EXIT_BLOCKED


def suggest(kind: str, given: str, allowed: Iterable[str]) -> UsageError:
    """The error for an unknown name: what was given, the nearest names, all names (of images: the first of many)."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    shown = names if len(names) <= LONGEST_LIST else [*names[:LONGEST_LIST], f"... ({len(names)} in all)"]
    return UsageError(f"unknown {kind} {given!r}.{hint} Known: {', '.join(shown)}.")


def write_whole(path: Path, content: bytes, *, settle: bool = True) -> None:
    """Writes a file whole or not at all: aside, synced, renamed over the old one.

    settle: wait until the renaming too is on the disk, so that no power cut undoes it and keeps what is written after;
    without it, `sync_folder` has to follow. Raises `BlockedError` where the disk has no room; the old file is then
    still there.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
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


def pick_device(name: str) -> torch.device:
    """The device for `"auto"` (CUDA where there is one, else the CPU) or a torch device name.

    Raises `UsageError` for a name torch does not know or a device that is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}. Give auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported. Give auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} is not here: torch sees {torch.cuda.device_count()} GPUs. Give cpu or auto.")
    return device


def device_name(device: torch.device) -> str:
    """The device as a person would name it, for records: `NVIDIA H200`, or the processor's model name."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "pillow", "opencv-python", "papermill"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


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

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown", False  # installed below some other checkout
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", False


SOURCES = (".py", ".cpp", ".h", ".cu", ".cuh")


def source_hash(folders: Iterable[str] = ("dynroute_core", "kernels")) -> str:
    """sha256 over every source file that can change a number, names included (report, launch and book cannot)."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in (root / folder).rglob("*") if path.suffix in SOURCES):
            relative = path.relative_to(root).as_posix()
            if re.search("/(report|launch|book)/", relative) or relative.endswith("/published.py"):
                continue
            digest.update(relative.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory rather than return it to the system; gives whether it could be told.

    Training frees and takes the same large blocks in every step; taken from the system each time they are faulted in
    page by page, which costs about a third of a step on the CPU.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    largest = 2**31 - 1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    told = [mallopt(trim_threshold, largest), mallopt(mmap_threshold, 2**30)]
    return all(told)


def is_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()
