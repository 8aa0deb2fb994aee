"""A run that failed, as its folder tells it: `failed.ipynb` and `log.txt`. Text from them is data, never trusted.

Takes the folder; gives the error, the cell that raised it, the trace and the log's last lines, without terminal
colours.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.system.errors import BlockedError
from dynroute_core.system.files import read_file

FAILED = "failed.ipynb"
LOG, LOG_LINES = "log.txt", 30
TRACE_LINES = 80
_FAILURE_CELL = re.compile(r"\*\*This run did not finish: ([^\n]*?)\.\*\*[^\n]*\n(.*)", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONTROL = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0b-\x1f\x7f]")
_BLOCKED = ("BlockedError",)
_NEXT = {
    "BlockedError": "Do what the message says, then give the same command again.",
    "DeadKernelError": "The kernel died, most often for lack of memory: close other programs, or run less.",
    "OutOfMemoryError": "GPU memory ran out: give `--set train.batch=4 --set train.lr=0.025`, or `--device cpu`.",
    "Timeout": "Give the same command with a longer `--timeout`; it goes on from its checkpoint.",
    "Interrupted": "Give the same command again; it goes on from its checkpoint.",
    "NonFiniteLossError": "Lower the batch's learning rate: `--set train.lr=0.02`, or look at the files it names.",
}


@dataclass(frozen=True)
class FailedRun:
    """How a run ended. name, message: the error. source: the cell that raised it, "" where none did."""

    folder: Path
    name: str
    message: str
    source: str
    trace: str
    log: str

    @property
    def blocked(self) -> bool:
        """Whether data or weights were missing, and nothing broke."""
        return self.name in _BLOCKED

    @property
    def next_step(self) -> str:
        """What to try, in Markdown."""
        return _NEXT.get(
            self.name, "Read the trace and the end of the log; the same command tries again from the last checkpoint."
        )


def read_failure(folder: Path) -> FailedRun:
    """The failure in a run's folder. Raises BlockedError where `failed.ipynb` is no notebook."""
    path = folder / FAILED
    try:
        cells = json.loads(read_file(path).decode())["cells"]
        name, message = _read_error(cells)
        source, trace = _find_raising_cell(cells)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BlockedError(f"{path} is no whole notebook ({error}): delete its folder, run the row again.") from error
    log = folder / LOG
    lines = plain(read_file(log).decode(errors="replace")).splitlines() if log.exists() else []
    return FailedRun(folder, name, message, source, trace, "\n".join(lines[-LOG_LINES:]))


def plain(text: str) -> str:
    """Text without terminal colours and control characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _COLOUR.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def _read_error(cells: list[dict[str, object]]) -> tuple[str, str]:
    for cell in cells:
        if cell.get("id") == "failure" and (told := _FAILURE_CELL.match(_join(cell["source"]))):
            lines = (line.removeprefix("    ") for line in told[2].strip("\n").splitlines())
            return plain(told[1]), plain("\n".join(lines))
    return "unknown error", "the notebook does not say how it ended"


def _find_raising_cell(cells: list[dict[str, object]]) -> tuple[str, str]:
    """(the cell that raised, its trace)."""
    for cell in cells:
        outputs = cell.get("outputs", [])
        if not isinstance(outputs, list):
            raise TypeError("a cell's outputs are no list")
        for output in outputs:
            if output["output_type"] == "error":
                trace = plain("\n".join(output["traceback"])).splitlines()
                return plain(_join(cell["source"])), "\n".join(trace[-TRACE_LINES:])
    return "", ""


def _join(source: object) -> str:
    return "".join(source) if isinstance(source, list) else str(source)
