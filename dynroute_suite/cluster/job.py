"""The work of one job on a cluster: `reproduce.py` called for a row or several, stopped and taken up again.

submitit pickles what it is given. It is given a `RowJob` alone: this class by its name, and strings. What comes back is
not unpickled by anything here: a command's own JSON is left as a file beside the job, and records say the rest.

When a job's time is up, or its place is wanted, SLURM sends SIGUSR2 (`signal_delay_s` before the end), submitit calls
`checkpoint` and puts the job back into the queue. `checkpoint` asks the command to stop with SIGTERM, as a user would,
and waits until it has written its checkpoint; the job's next start calls the same command, which goes on from there.
A job that comes no further start after start, since its time does not suffice to begin, is not put back for ever.
"""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dynroute_core.runs.record import CHECKPOINT, RECORD
from dynroute_core.system.errors import EXIT_FAILED, DynrouteError
from dynroute_core.system.files import write_whole

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

PROGRAM = Path(__file__).resolve().parents[2] / "reproduce.py"
LOOK_EVERY_S = 0.2
MAX_IDLE = 10  # starts without a checkpoint: a crowded cluster may take a place away that often, and no more

_processes: list[subprocess.Popen[bytes]] = []  # here and not in RowJob, which is pickled
_times_at_start: dict[str, int] = {}  # the files of its runs, as this start of the job found them


class JobFailedError(DynrouteError):
    """A command of the job left with another exit code than 0."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One call. words: the arguments of reproduce.py, `--json` among them. answer: the file that gets its output.
    folders: patterns of the folders in which its runs leave checkpoints."""

    words: tuple[str, ...]
    answer: str
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RowJob:
    """Commands one after the other; one that fails does not keep the next from running.

    here: the working directory of whoever submitted, from which their paths lead. patience_s: how long `checkpoint`
    waits for a command to stop. idle: how many starts in a row have left no new checkpoint.
    """

    commands: tuple[Command, ...]
    here: str
    patience_s: float
    idle: int = 0

    def __call__(self) -> None:
        """Raises JobFailedError at the end where a command failed, so that the cluster calls the job failed too."""
        _times_at_start.clear()
        _times_at_start.update(self._file_times())
        codes = [_run(command, self.here) for command in self.commands]
        if any(codes):
            raise JobFailedError(f"exit codes {', '.join(map(str, codes))}: see what stands above.")

    def checkpoint(self) -> DelayedSubmission | None:
        """Called by submitit before it puts the job back into the queue: stops the command, gives what goes on; None
        where nothing comes of going on."""
        from submitit.helpers import DelayedSubmission

        for process in _processes:
            _stop(process, self.patience_s)
        idle = self.idle + 1 if self._file_times() == _times_at_start else 0
        if idle < MAX_IDLE:
            return DelayedSubmission(replace(self, idle=idle))
        text = f"stopped {MAX_IDLE} times before there was a new checkpoint: give jobs more time (timeout_min)."
        for command in self.commands:
            if not Path(command.answer).exists():
                answer = {"exit_code": EXIT_FAILED, "message": text, "rows": []}
                write_whole(Path(command.answer), json.dumps(answer).encode())
        return None

    def _file_times(self) -> dict[str, int]:
        """The checkpoints and records of its runs, and when they were written."""
        patterns = [
            f"{folder}/{name}" for one in self.commands for folder in one.folders for name in (CHECKPOINT, RECORD)
        ]
        return {path: os.stat(path).st_mtime_ns for pattern in patterns for path in glob.glob(pattern)}


def _run(command: Command, here: str) -> int:
    answer = Path(command.answer)
    answer.unlink(missing_ok=True)  # of an earlier start of this job
    part = answer.with_name(f".{answer.name}.part")
    with part.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *command.words],
            cwd=here,
            stdin=subprocess.DEVNULL,
            stdout=out,
            preexec_fn=_ignore_sigusr2,
        )
        _processes.append(process)
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_EVERY_S)
        except BaseException:  # a signal that ends this process, as Ctrl-C: the command must not go on alone
            process.terminate()
            raise
        finally:
            _processes.remove(process)
    write_whole(answer, part.read_bytes())
    part.unlink()
    return process.returncode


def _ignore_sigusr2() -> None:
    """In the new process: SLURM sends SIGUSR2 to all processes of a job, and most would die of it."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _stop(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Ends a command and waits until it is gone; looks without `Popen.wait`, which the signal may have interrupted."""
    limit = time.monotonic() + patience_s
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(process.pid, signal.SIGTERM)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > limit:
                os.kill(process.pid, signal.SIGKILL)
                return
            time.sleep(LOOK_EVERY_S)
