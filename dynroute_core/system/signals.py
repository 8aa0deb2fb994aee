"""Signals that wait for the end of an iteration."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


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
