"""One run by several processes: starts them as workers of torch's elastic agent, and gives what `pipeline.run` gives.

The agent (what `torchrun` is made of) runs in this process. Where a worker dies it ends the others and starts all
anew, and they go on from the last checkpoint. An error that would come again is raised here instead, as the
worker raised it. SIGINT and SIGTERM are handed on to every worker and then raise KeyboardInterrupt here, after the
workers' checkpoint.

Every worker runs `pipeline.run` with its `Team`; the first alone writes. The number of processes is no setting and in
no key, because results are the same to rounding; the record names it.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from dynroute_core.distributed import team_device
from dynroute_core.experiments import Experiment
from dynroute_core.runs import pipeline
from dynroute_core.runs.pipeline import FinishedRun, Report, plan
from dynroute_core.system.errors import DynrouteError
from dynroute_suite.notebook.messages import PROGRESS, Tail, failures, leave_request
from dynroute_suite.workers.worker import WorkerRequest, would_recur

MAX_RESTARTS = 3
LAST_WORDS = 4000  # characters of a worker's standard error that are shown
LOOK_EVERY_S = 0.2


def run(
    experiment: Experiment,
    *,
    data_root: Path | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
    force: bool = False,
    report: Report | None = None,
    processes: int = 1,
    max_restarts: int = MAX_RESTARTS,
) -> FinishedRun:
    """`pipeline.run` by so many processes, each on a GPU of its own or, where the device is cpu, all on the CPU.

    max_restarts: how often workers that died are started anew. Raises as `pipeline.run`, and DynrouteError where they
    died once more.
    """
    if processes == 1:
        return pipeline.run(experiment, data_root=data_root, out=out, device=device, force=force, report=report)
    kind = team_device(device, processes)
    planned = plan(experiment, data_root=data_root, out=out, force=force)
    if planned.finished:
        return FinishedRun.open(planned.folder, planned.key)
    with tempfile.TemporaryDirectory(prefix="dynroute-") as name:
        folder = Path(name)
        request = WorkerRequest(
            experiment=experiment,
            data_root=str(data_root.resolve()) if data_root else None,
            out=str(out.resolve()),
            device=kind,
            force=force,
            threads=max(torch.get_num_threads() // processes, 1),
            agent=os.getpid(),
        )
        leave_request(folder, request)
        with _relay_progress(folder, report):
            _run_workers(folder, processes, max_restarts)
    return replace(FinishedRun.open(planned.folder, planned.key), reused=False)


def _run_workers(folder: Path, processes: int, max_restarts: int) -> None:
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # a port that is free
        local_addr="127.0.0.1",
        max_restarts=max_restarts,
        monitor_interval=LOOK_EVERY_S,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder), redirects=Std.ALL),
        virtual_local_rank=True,  # each sees its own GPU alone: one that is called cuda:0 in every checkpoint
    )
    words = ("-m", "dynroute_suite.workers.worker", str(folder))
    try:
        with _restore_handlers():
            elastic_launch(config, sys.executable)(*words)
    except SignalException as error:
        raise KeyboardInterrupt from error
    except ChildFailedError as error:
        last = failures(folder)[-1:]
        found = f" The last one's error: {last[0].name}: {last[0].text}" if last else ""
        raise DynrouteError(
            f"worker processes died {max_restarts + 1} times.{found} The same command goes on from the last checkpoint."
        ) from error
    finally:
        _show_last_words(folder)
    for failure in failures(folder):
        if failure.kind is not None and would_recur(failure):
            raise failure.kind(failure.text)


def _show_last_words(folder: Path) -> None:
    for path in sorted(folder.glob("*/attempt_*/*/stderr.log")):
        if text := path.read_text(errors="replace")[-LAST_WORDS:]:
            print(f"{path.parent.parent.name}, worker {path.parent.name}:\n{text}", file=sys.stderr, flush=True)


@contextmanager
def _restore_handlers() -> Iterator[None]:
    """The agent installs its signal handlers and leaves them; this puts the old ones back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _relay_progress(folder: Path, report: Report | None) -> Iterator[None]:
    """Hands the leading worker's reports on, from a thread: the agent has this one."""
    tail, over = Tail(folder / PROGRESS), threading.Event()

    def relay() -> None:
        ended = False
        while not ended:
            ended = over.wait(LOOK_EVERY_S)
            for progress in tail.read():
                if report is not None:
                    report(progress)

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
