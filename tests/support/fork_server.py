"""Attempts at a run or a generation, each in a process of its own, that can be killed at any moment.

`ForkServer` talks to a process that has imported everything once, with one thread, and forks for each attempt: an
attempt costs what it does, not seconds of imports. An attempt passes *moments*: before and after each iteration, report
of progress, temporary file, sync and renaming, and in the middle of each write. At the one that it is told it sends
itself SIGKILL (or SIGSTOP), so a moment is hit exactly, however busy the machine is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

ROOT = Path(__file__).resolve().parents[2]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What to do. row "" generates streets in `out`, with `workers` processes; else the row runs. moment: at which
    `signal` is sent, 0 for none. passed: a file that gets one line per moment once all is done; said: the error."""

    out: str
    said: str
    row: str = ""
    data: str = ""
    settings: dict[str, str] | None = None
    workers: int = 1
    scenes: int = 2
    moment: int = 0
    signal: int = signal.SIGKILL
    passed: str = ""


class ForkServer:
    """The test's side: starts attempts and waits for them."""

    def __enter__(self) -> Self:
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment | {"OMP_NUM_THREADS": "1"},
            cwd=ROOT,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _ask(self, question: object) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, attempt: Attempt) -> int:
        """Gives the process's id, which is also its group's."""
        return self._ask(asdict(attempt))

    def wait(self, pid: int) -> int:
        """The exit code, minus the signal that ended it, or minus SIGSTOP where it stands still."""
        status = self._ask(pid)
        return -os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)

    def run(self, attempt: Attempt) -> int:
        """Starts it and waits."""
        return self.wait(self.start(attempt))


# The server's side


class Moments:
    """Counts what an attempt passes, and sends the signal at the moment it was told."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.names: list[str] = []

    def reach(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.attempt.moment:
            os.kill(os.getpid(), self.attempt.signal)

    def around(self, name: str, function: Callable[P, T]) -> Callable[P, T]:
        def wrapped(*given: P.args, **named: P.kwargs) -> T:
            self.reach(f"before {name}")
            result = function(*given, **named)
            self.reach(f"after {name}")
            return result

        return wrapped

    def watch(self) -> None:
        """From now on every file written by `write_whole` and every iteration passes through here."""
        from dynroute_core import train
        from dynroute_core.runs import pipeline
        from dynroute_core.system import files

        pipeline.locked = self.around("locked", pipeline.locked)
        for module, name in ((os, "replace"), (os, "fsync"), (files, "_create_aside")):
            setattr(module, name, self.around(name, getattr(module, name)))
        train.Trainer._step = self.around("step", train.Trainer._step)  # type: ignore[method-assign]
        opened = os.fdopen

        def slowly(handle: int, mode: str = "r", *rest: object, **named: object) -> object:
            file = opened(handle, mode, *rest, **named)  # type: ignore[call-overload]
            if mode == "wb":
                write = file.write

                def in_halves(content: bytes) -> int:
                    done = write(content[: len(content) // 2])
                    file.flush()
                    self.reach("half-way through write")
                    return done + int(write(content[len(content) // 2 :]))

                file = _Slow(file, in_halves)
            return file

        os.fdopen = slowly  # type: ignore[assignment]


class _Slow:
    """A file whose `write` is another."""

    def __init__(self, file: object, write: Callable[[bytes], int]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # type: ignore[attr-defined]


def work(attempt: Attempt, moments: Moments) -> None:
    from dynroute_core.data.streets.generate import generate_streets
    from dynroute_core.experiments import experiment, with_settings
    from dynroute_core.runs.pipeline import run

    moments.watch()
    out = Path(attempt.out)
    if not attempt.row:
        generate_streets(
            out, train=attempt.scenes, val=1, height=32, width=64, seed=3, workers=attempt.workers, progress=False
        )
        return
    chosen = with_settings(experiment(attempt.row, profile="smoke"), attempt.settings or {})
    run(chosen, data_root=Path(attempt.data), out=out, device="cpu", report=lambda p: moments.reach(p.phase))


def child(attempt: Attempt) -> int:
    from dynroute_core.system.errors import DynrouteError

    os.setpgid(0, 0)
    moments = Moments(attempt)
    try:
        work(attempt, moments)
    except DynrouteError as error:
        Path(attempt.said).write_text(str(error))
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        return 1
    if attempt.passed:
        Path(attempt.passed).write_text("\n".join(moments.names))
    return 0


def main() -> None:
    import torch

    torch.set_num_threads(1)
    import torch.utils.tensorboard

    import dynroute_core.runs.pipeline  # noqa: F401

    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, int):
            _, status = os.waitpid(question, os.WUNTRACED)
            print(status, flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os.dup2(2, 1)  # standard output is the server's
            os._exit(child(Attempt(**question)))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
