"""What one process leaves another in a folder that both know: a request, how far the work is, and why it failed.

So talk a supervisor and the child that runs its notebook, a kernel and the supervisor, an agent and its workers.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from dynroute_core.runs.progress import RunProgress
from dynroute_core.system.errors import DynrouteError, error_named

REQUEST, PROGRESS, FAILURE = "request.json", "progress", "failure"
Asked = TypeVar("Asked")


@dataclass(frozen=True)
class Failure:
    """Why a process failed: the exception's name and text."""

    name: str
    text: str

    @property
    def kind(self) -> type[DynrouteError] | None:
        """The exception's class; None where it is no error meant for users."""
        return error_named(self.name)

    @classmethod
    def of(cls, error: Exception) -> Failure:
        return cls(type(error).__name__, str(error))


def leave_request(folder: Path, request: object) -> None:
    """Writes what a process that is started next has to do."""
    (folder / REQUEST).write_bytes(msgspec.json.encode(request))


def read_request(folder: Path, kind: type[Asked]) -> Asked:
    return msgspec.json.decode((folder / REQUEST).read_bytes(), type=kind)


def leave_failure(folder: Path, failure: Failure, *, attempt: int = 0) -> None:
    """Writes why an attempt failed, unless another process did before: what others then meet is no reason of theirs."""
    aside, path = folder / f".{os.getpid()}", folder / f"{FAILURE}-{attempt}.json"
    aside.write_bytes(msgspec.json.encode(failure))
    with suppress(FileExistsError):
        os.link(aside, path)  # whole, and only where there is none
    aside.unlink()


def failures(folder: Path) -> list[Failure]:
    """Why attempts failed, in order."""
    paths = sorted(folder.glob(f"{FAILURE}-*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=Failure) for path in paths]


def append_progress(path: Path, progress: RunProgress) -> None:
    """Adds a line to a progress file."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(progress) + b"\n")


class Tail:
    """Reads what was appended to a progress file since the last look; a half-written last line waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[RunProgress]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                raw = file.read()
        except FileNotFoundError:
            return []
        whole = raw[: raw.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = []
        for line in whole.splitlines():
            try:
                found.append(msgspec.json.decode(line, type=RunProgress))
            except msgspec.MsgspecError:  # the cell printed into the file: a lost line of progress is no reason to stop
                continue
        return found
