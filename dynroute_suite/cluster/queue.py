"""What becomes of jobs that were handed over: SLURM's queue, or the processes of submitit's local executor.

`squeue` is asked, not `sacct`, which small clusters lack; it forgets ended jobs after minutes, and then a run's own
files are all there is.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dynroute_core.system.errors import BlockedError
from dynroute_suite.cluster.submission import Submission

ASK_S = 60.0
_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
_AT_WORK = {"COMPLETING", "CONFIGURING", "RUNNING", "SIGNALING", "STAGE_OUT"}


@dataclass(frozen=True)
class Place:
    """Where a job is: waiting, running, or gone. why: the queue's own words, "" where it has none."""

    state: Literal["waiting", "running", "gone"]
    why: str = ""


GONE = Place("gone")


def places(found: Iterable[tuple[Path, Submission]]) -> Mapping[tuple[str, int], Place]:
    """The place of every task that a cluster still knows, by (submission's name, task). Raises BlockedError where
    SLURM does not answer: nothing can be said of its jobs then."""
    found = list(found)
    known = _slurm_places([each.name for _, each in found if each.cluster == "slurm"])
    for folder, submission in found:
        if submission.cluster == "local":
            alive = {str(pid) for pid in local_processes(folder)}
            known |= {
                (submission.name, index): Place("running") for index, job in enumerate(submission.jobs) if job in alive
            }
    return known


def _slurm_places(names: list[str]) -> dict[tuple[str, int], Place]:
    if not names:
        return {}
    words = ["squeue", "--noheader", "--array", "--states=all", f"--name={','.join(names)}", "--format=%j|%K|%T|%r"]
    known = {}
    for line in ask(words).splitlines():
        name, index, state, reason = line.split("|", 3)
        known[name, int(index) if index.isdecimal() else 0] = _slurm_place(state, reason)
    return known


def _slurm_place(state: str, reason: str) -> Place:
    why = state if reason in ("None", state) else f"{state}, {reason}"
    return Place("gone" if state in _ENDED else "running" if state in _AT_WORK else "waiting", why)


def ask(words: list[str]) -> str:
    """What a command of SLURM's prints. Raises BlockedError with what it complains of."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=ASK_S).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or error
        raise BlockedError(f"{words[0]} does not answer: {str(said).strip()}. Ask again where SLURM is.") from error


def local_processes(folder: Path) -> list[int]:
    """The controllers that submitit's local executor started for the submission in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"submitit.local._local" in words and os.fsencode(folder) in words:
                found.append(int(path.parent.name))
    return found


def take_back(folder: Path, submission: Submission) -> None:
    """Ends whatever of a submission is in the queue or at work."""
    if submission.cluster == "slurm":
        ask(["scancel", f"--name={submission.name}"])
    for pid in local_processes(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
