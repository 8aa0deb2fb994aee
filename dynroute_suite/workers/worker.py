"""One of the processes that run an experiment together, started by the elastic agent of `workers.agent` alone.

Takes the folder with the request; leaves progress (the leading worker's) and, where it failed, why. An error that
would come again is left for the agent's process to raise: the others, which are started anew because of it, find it
and leave at once with 0.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from dynroute_core.distributed import joined
from dynroute_core.experiments import Experiment
from dynroute_core.nonfinite import NonFiniteLossError
from dynroute_core.runs import pipeline
from dynroute_core.system.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, BlockedError, UsageError
from dynroute_suite.notebook.progress import reporter

REQUEST, PROGRESS, FAILURE = "request.json", "progress", "failure"
FINAL = (UsageError, BlockedError, NonFiniteLossError)  # would come again; a data worker that died would not
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run. device: cpu or cuda, then this process's only one. threads: of each process. agent: the id of the
    process that all this is for."""

    experiment: Experiment
    data_root: str | None
    out: str
    device: str
    force: bool
    threads: int
    agent: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a worker failed: its exception's name and text. final: it would come again."""

    name: str
    text: str
    final: bool


def failures(folder: Path) -> list[Failure]:
    """What the workers left, one failure an attempt, in order."""
    paths = sorted(folder.glob(f"{FAILURE}-*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=Failure) for path in paths]


def main(folder: Path) -> int:
    """Runs the request in a folder; returns the exit code."""
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    request = msgspec.json.decode((folder / REQUEST).read_bytes(), type=Request)
    threading.Thread(target=_end_with, args=(request.agent,), daemon=True).start()
    if any(failure.final for failure in failures(folder)):
        return EXIT_DONE
    torch.set_num_threads(request.threads)
    try:
        with joined(request.device) as team:
            pipeline.run(
                request.experiment,
                data_root=Path(request.data_root) if request.data_root else None,
                out=Path(request.out),
                device=request.device,
                force=request.force and attempt == 0,  # what an earlier attempt left is this run's own
                report=reporter(str(folder / PROGRESS)) if team.leads else None,
                team=team,
            )
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        _leave(folder, attempt, error)
        if isinstance(error, FINAL):
            return EXIT_FAILED
        raise
    return EXIT_DONE


def _leave(folder: Path, attempt: int, error: Exception) -> None:
    """Writes why this worker failed, unless another did before: that others then lose it is no reason of their own."""
    failure = Failure(name=type(error).__name__, text=str(error), final=isinstance(error, FINAL))
    aside, path = folder / f".{os.getpid()}", folder / f"{FAILURE}-{attempt}.json"
    aside.write_bytes(msgspec.json.encode(failure))
    with suppress(FileExistsError):
        os.link(aside, path)  # whole, and only where there is none


def _end_with(agent: int) -> None:
    """Ends this process where the agent is gone without a word, killed for one."""
    while os.getppid() == agent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
