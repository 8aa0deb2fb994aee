"""What a person sees while a row runs: a bar on a terminal, a line every 20 s elsewhere, a text bar in JupyterLab.

The kernel cannot draw on the terminal, so it appends its reports to a file (`reporter`), and the supervisor reads that
file (`messages.Tail`) and draws (`Display`).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

from tqdm import tqdm  # the plain one: tqdm.auto would leave a widget in the notebook

from dynroute_core.runs.progress import Report, RunProgress
from dynroute_core.system.machine import is_terminal
from dynroute_suite.notebook.messages import append_progress

QUIET_S = 20.0
NOTEBOOK = "notebook"  # the phase whose units are cells: before the run and, drawing, after it
PHASES = {
    "data": "data",
    "paths": "open paths",
    "train": "training",
    "precise_bn": "norm statistics",
    "evaluate": "evaluation",
    NOTEBOOK: "notebook",
}


def reporter(path: str = "") -> Report:
    """A function for `pipeline.run(report=...)`: appends to the file or, without one, draws a bar in the notebook."""
    return partial(append_progress, Path(path)) if path else Display(stream=sys.stdout, bars=True).show


class Display:
    """Draws reports: bars (one per phase) or, every `quiet_s` seconds and at each change of phase, a line.

    The time left is the run's as far as the work that follows a phase is known, else the phase's own. It goes by the
    rate measured in this phase: without two reports there is none, nor for a notebook's cells, of which none is like
    another.
    """

    def __init__(
        self,
        *,
        name: str = "",
        stream: TextIO | None = None,
        bars: bool | None = None,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = f"{name}  " if name else ""
        self._stream = stream or sys.stderr
        self._bars = is_terminal() if bars is None else bars
        self._quiet_s = quiet_s
        self._clock = clock
        self._bar: tqdm[object] | None = None
        self._phase = ""
        self._first = 0
        self._began = 0.0
        self._spoke = 0.0

    def show(self, progress: RunProgress) -> None:
        """Draws one report."""
        now = self._clock()
        changed = progress.phase != self._phase
        if changed:
            self.close()
            self._phase, self._first, self._began = progress.phase, progress.done, now
        if self._bars:
            self._draw(progress, self._left(progress, now))
        elif changed or now - self._spoke >= self._quiet_s or progress.done == progress.total:
            self._spoke = now
            self._say(progress, self._left(progress, now))

    def _left(self, progress: RunProgress, now: float) -> str:
        """The time left, in words; "" where nothing was measured yet."""
        gained = progress.done - self._first
        if gained <= 0 or progress.phase == NOTEBOOK:
            return ""
        seconds = (now - self._began) / gained * (progress.total - progress.done + (progress.ahead or 0))
        return f"{tqdm.format_interval(seconds)} left{' of this' if progress.ahead is None else ''}"

    def _draw(self, progress: RunProgress, left: str) -> None:
        if self._bar is None:
            columns, lines = shutil.get_terminal_size()  # tqdm's own measure is 0 in some containers, and shows nothing
            self._bar = tqdm(
                desc=f"{self._name}{PHASES.get(progress.phase, progress.phase)}",
                total=progress.total,
                initial=progress.done,
                file=self._stream,
                ncols=columns,
                nrows=lines,
                bar_format="{desc} {percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt}{postfix}",
            )
        self._bar.set_postfix_str("  ".join(filter(None, (left, progress.text))), refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def _say(self, progress: RunProgress, left: str) -> None:
        done = f"{self._name}{PHASES.get(progress.phase, progress.phase)} {progress.done}/{progress.total}"
        words = ", ".join(filter(None, (done, left)))
        print(f"{words}  {progress.text}".rstrip(), file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar of the current phase, if there is one."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
            self._bar = None
