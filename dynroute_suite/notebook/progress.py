"""What a person sees while a row runs: a bar on a terminal, a line every 20 s elsewhere, a text bar in JupyterLab.

The kernel cannot draw on the terminal, so it appends its reports to a file (`reporter`), and the supervisor reads that
file (`messages.Tail`) and draws (`Display`).
"""

from __future__ import annotations

import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import TextIO

from tqdm import tqdm  # the plain one: tqdm.auto would leave a widget in the notebook

from dynroute_core.runs.progress import Report, RunProgress
from dynroute_core.system.machine import is_terminal
from dynroute_suite.notebook.messages import append_progress

QUIET_S = 20.0
PHASES = {
    "data": "data",
    "paths": "open paths",
    "train": "training",
    "precise_bn": "norm statistics",
    "evaluate": "evaluation",
}


def reporter(path: str = "") -> Report:
    """A function for `pipeline.run(report=...)`: appends to the file or, without one, draws a bar in the notebook."""
    return partial(append_progress, Path(path)) if path else Display(stream=sys.stdout, bars=True).show


class Display:
    """Draws reports: bars (one per phase) or, every `quiet_s` seconds and at each change of phase, a line."""

    def __init__(
        self,
        *,
        name: str = "",
        stream: TextIO | None = None,
        bars: bool | None = None,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._name = f"{name}  " if name else ""
        self._stream = stream or sys.stderr
        self._bars = is_terminal() if bars is None else bars
        self._quiet_s = quiet_s
        self._bar: tqdm[object] | None = None
        self._phase = ""
        self._first = 0
        self._began = 0.0
        self._spoke = 0.0

    def show(self, progress: RunProgress) -> None:
        """Draws one report."""
        now = time.monotonic()
        changed = progress.phase != self._phase
        if changed:
            self.close()
            self._phase, self._first, self._began = progress.phase, progress.done, now
        if self._bars:
            self._draw(progress)
        elif changed or now - self._spoke >= self._quiet_s or progress.done == progress.total:
            self._spoke = now
            self._say(progress, now)

    def _draw(self, progress: RunProgress) -> None:
        if self._bar is None:
            columns, lines = shutil.get_terminal_size()  # tqdm's own measure is 0 in some containers, and shows nothing
            self._bar = tqdm(
                desc=f"{self._name}{PHASES.get(progress.phase, progress.phase)}",
                total=progress.total,
                initial=progress.done,
                file=self._stream,
                ncols=columns,
                nrows=lines,
                bar_format="{desc} {percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt}, {remaining} left{postfix}",
            )
        self._bar.set_postfix_str(progress.text, refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def _say(self, progress: RunProgress, now: float) -> None:
        gained = progress.done - self._first
        left = (now - self._began) / gained * (progress.total - progress.done) if gained > 0 else 0.0
        remaining = f", {int(left // 60)}:{int(left % 60):02d} left" if left >= 1 else ""
        what = f"{self._name}{PHASES.get(progress.phase, progress.phase)} {progress.done}/{progress.total}{remaining}"
        print(f"{what}  {progress.text}".rstrip(), file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar of the current phase, if there is one."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
            self._bar = None
