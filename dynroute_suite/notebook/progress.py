"""What a person sees while a row runs: a bar on a terminal, a line every 20 s elsewhere, a text bar in JupyterLab.

The kernel cannot draw on the terminal, so it appends one JSON line per report to a file (`reporter`), and the
supervisor reads that file (`Tail`) and draws (`Display`).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

import msgspec

from dynroute_core.system.machine import is_terminal

if TYPE_CHECKING:
    from tqdm import tqdm

QUIET_S = 20.0
PHASES = {
    "data": "data",
    "paths": "open paths",
    "train": "training",
    "precise_bn": "norm statistics",
    "evaluate": "evaluation",
}


class Progress(Protocol):
    """What `pipeline.run` reports: `pipeline.RunProgress`."""

    @property
    def phase(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True)
class Seen:
    """A report as it came through the file."""

    phase: str
    done: int
    total: int
    text: str


def reporter(path: str = "") -> Callable[[Progress], None]:
    """A function for `pipeline.run(report=...)`: appends to the file or, without one, draws a bar in the notebook."""
    if not path:
        return Display(stream=sys.stdout, bars=True).show

    def write(progress: Progress) -> None:
        seen = Seen(progress.phase, progress.done, progress.total, progress.text)
        with Path(path).open("ab") as file:
            file.write(msgspec.json.encode(asdict(seen)) + b"\n")

    return write


class Tail:
    """Reads what was appended to a progress file since the last look; a half-written last line waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Seen]:
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
                found.append(msgspec.json.decode(line, type=Seen))
            except msgspec.MsgspecError:  # the cell printed into the file: a lost line of progress is no reason to stop
                continue
        return found


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

    def show(self, seen: Progress) -> None:
        """Draws one report."""
        now = time.monotonic()
        changed = seen.phase != self._phase
        if changed:
            self.close()
            self._phase, self._first, self._began = seen.phase, seen.done, now
        if self._bars:
            self._draw(seen)
        elif changed or now - self._spoke >= self._quiet_s or seen.done == seen.total:
            self._spoke = now
            self._say(seen, now)

    def _draw(self, seen: Progress) -> None:
        from tqdm import tqdm  # the plain one: tqdm.auto would leave a widget in the notebook

        if self._bar is None:
            columns, lines = shutil.get_terminal_size()  # tqdm's own measure is 0 in some containers, and shows nothing
            self._bar = tqdm(
                desc=f"{self._name}{PHASES.get(seen.phase, seen.phase)}",
                total=seen.total,
                initial=seen.done,
                file=self._stream,
                ncols=columns,
                nrows=lines,
                bar_format="{desc} {percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt}, {remaining} left{postfix}",
            )
        self._bar.set_postfix_str(seen.text, refresh=False)
        self._bar.update(seen.done - self._bar.n)

    def _say(self, seen: Progress, now: float) -> None:
        gained = seen.done - self._first
        left = (now - self._began) / gained * (seen.total - seen.done) if gained > 0 else 0.0
        remaining = f", {int(left // 60)}:{int(left % 60):02d} left" if left >= 1 else ""
        what = f"{self._name}{PHASES.get(seen.phase, seen.phase)} {seen.done}/{seen.total}{remaining}"
        print(f"{what}  {seen.text}".rstrip(), file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar of the current phase, if there is one."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
            self._bar = None
