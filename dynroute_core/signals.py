"""What guards a run at work: a lock on its folder, and signals that wait for the end of an iteration."""

from __future__ import annotations

import fcntl
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Self

from dynroute_core.runtime import BlockedError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the run's lock, which the system frees however the process ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BlockedError(f"another process is at work on {folder}. Wait for it, then run this again.") from error
        yield


class Signals:
    """SIGINT (Ctrl-C) and SIGTERM (a cluster's time limit) end a run with KeyboardInterrupt.

    While held, the first one waits for the end of the iteration, so that the checkpoint it leads to lies between two
    iterations; a second one raises at once. Outside the main thread, signals stay as they are.
    """

    def __init__(self) -> None:
        self.pending = False
        self._held = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held and not self.pending:
            self.pending = True
            return
        raise KeyboardInterrupt

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False

    def raise_pending(self) -> None:
        if self.pending:
            raise KeyboardInterrupt
