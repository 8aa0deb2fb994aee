"""Starts the child process of one notebook, watches it, stops it, and judges how it ended.

What papermill notes in the notebook is not believed: it marks cells of a kernel that died as completed. A run is done
when the child left with 0 and the caller's `check` finds what the run was to leave.

Stopping, on Ctrl-C, SIGTERM, SIGHUP (the command ignores it) or the time limit, goes in steps: SIGINT, so that the cell
can write a checkpoint; again after half the patience; SIGTERM; SIGKILL to the child's and the kernel's process groups.
A second signal skips to SIGTERM.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from dynroute_core.system.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, DynrouteError
from dynroute_core.system.files import remove_stale, write_whole
from dynroute_suite.notebook import document
from dynroute_suite.notebook.messages import PROGRESS, Failure, Tail, failures, leave_request
from dynroute_suite.notebook.progress import Display
from dynroute_suite.notebook.request import EXECUTED, KERNEL, NotebookRequest, plain_parameter
from dynroute_suite.notebook.sandbox import (
    LOOK_EVERY_S,
    collect_signals,
    environment,
    open_log,
    scratch_folder,
    shorten,
)

DONE_NOTEBOOK, FAILED_NOTEBOOK = "row.ipynb", "failed.ipynb"

_HINTS = {
    "DeadKernelError": "The kernel died, which is most often memory: close other programs, or run a smaller profile.",
    "KernelStartError": "log.txt may say why. Where disk or machine are merely slow: start fewer runs at once, or move "
    "the environment to a local disk.",
    "NoSuchKernel": "The environment has no Jupyter kernel: install ipykernel in it.",
    "CellTimeoutError": "A cell ran longer than its limit.",
    "MemoryError": "Memory ran out: close other programs, or run a smaller profile.",
    "OutOfMemoryError": "GPU memory ran out: --set train.batch=..., or --device cpu.",
}
_SYSTEM_HINTS = {
    errno.EMFILE: "Allow more open files (ulimit -n 1024), or give --set data.workers=0.",
    errno.ENOSPC: "The disk or the shared memory (/dev/shm) is full: free some, or give --set data.workers=0.",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One notebook to run. name: of the row, for people. folder: where its files go. resets: see `document.Dress`.
    patience_s: how long an interrupt, then a SIGTERM, may take."""

    name: str
    title: str
    notebook: Path
    folder: Path
    root: Path
    parameters: Mapping[str, object]
    progress_parameter: str = "progress_file"
    resets: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    start_timeout_s: int = 1800  # many kernels, one cold network disk; a dead one is noticed at once
    cell_timeout_s: int | None = None
    kernel: str = "python3"
    patience_s: tuple[float, float] = (30.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the run of a notebook ended.

    error: the exception's name, "" where none. message: for the user, empty when done. notebook: the file that was
    written. interrupted: a signal came, whatever the state.
    """

    state: Literal["done", "failed", "interrupted"]
    exit_code: int
    error: str
    message: str
    notebook: Path | None
    interrupted: bool
    seconds: float


def execute(
    job: Job, *, check: Callable[[], object], stamp: Callable[[], str], display: Display | None = None
) -> Outcome:
    """Runs the notebook until it ends or is stopped; leaves `row.ipynb` or `failed.ipynb`, and `log.txt`.

    check raises a DynrouteError where the run did not leave what it should. stamp is called after it, for the
    notebook's metadata. Must run in the main thread (it installs signal handlers, and puts the old ones back).
    Raises BlockedError where another process runs in the same folder, or the disk is full.
    """
    began = time.monotonic()
    with open_log(job.folder) as log, scratch_folder() as scratch, collect_signals() as received:
        remove_stale(job.folder, (DONE_NOTEBOOK, FAILED_NOTEBOOK))
        reason, status = _run_child(job, scratch, log, received, display or Display(name=job.name))
        failure = _child_failure(scratch, status)
        if failure is None:
            try:
                check()
            except DynrouteError as error:
                failure = Failure.of(error)
        if failure and reason:
            failure = _stop_failure(reason, job)
        shorten(log)
        path = _write_notebook(job, scratch, failure, stamp)
    return Outcome(
        state="done" if failure is None else "interrupted" if reason == "interrupted" else "failed",
        exit_code=_exit_code(failure, reason),
        error=failure.name if failure else "",
        message=_message(failure) if failure else "",
        notebook=path,
        interrupted=bool(received),
        seconds=time.monotonic() - began,
    )


def _run_child(job: Job, scratch: Path, log: BinaryIO, received: list[int], display: Display) -> tuple[str, int]:
    """(why it was stopped: "", "interrupted" or "timeout"; the child's exit status)."""
    parameters = dict(job.parameters)
    if job.progress_parameter in parameters:
        parameters[job.progress_parameter] = str(scratch / PROGRESS)
    request = NotebookRequest(
        notebook=str(job.notebook),
        root=str(job.root),
        parameters={name: plain_parameter(value, name) for name, value in parameters.items()},
        kernel=job.kernel,
        start_timeout_s=job.start_timeout_s,
        cell_timeout_s=job.cell_timeout_s,
    )
    leave_request(scratch, request)
    process = subprocess.Popen(
        [sys.executable, "-m", "dynroute_suite.notebook.child", str(scratch)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment(job.root, scratch),
        cwd=job.root,
        start_new_session=True,
    )
    try:
        import nbformat  # noqa: F401  # a second, which the end needs, spent while the child starts

        reason = _watch(process, job, scratch, received, display)
    finally:
        display.close()
        for group in (process.pid if process.poll() is None else 0, _kernel_id(scratch)):
            _send(group, signal.SIGKILL)
        process.wait()
        if process.stdin:
            process.stdin.close()
    return reason, process.returncode


def _watch(
    process: subprocess.Popen[bytes], job: Job, scratch: Path, received: list[int], display: Display
) -> Literal["", "interrupted", "timeout"]:
    tail = Tail(scratch / PROGRESS)
    limit = time.monotonic() + job.timeout_s if job.timeout_s else float("inf")
    reason: Literal["", "interrupted", "timeout"] = ""
    due: list[tuple[float, signal.Signals]] = []
    while process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_EVERY_S)
        for progress in tail.read():
            display.show(progress)
        now = time.monotonic()
        if not reason and (received or now > limit):
            reason = "interrupted" if received else "timeout"
            due = _steps(now, job.patience_s)
        if len(received) > 1 and due and due[0][1] == signal.SIGINT:
            due = [(now, signal.SIGTERM), (now + job.patience_s[1], signal.SIGKILL)]
        while due and due[0][0] <= now:
            _stop(process, _kernel_id(scratch), due.pop(0)[1])
    return reason


def _steps(now: float, patience_s: tuple[float, float]) -> list[tuple[float, signal.Signals]]:
    polite, firm = patience_s
    return [
        (now, signal.SIGINT),
        (now + polite / 2, signal.SIGINT),  # the first can fall into the moment in which the kernel takes up a cell
        (now + polite, signal.SIGTERM),
        (now + polite + firm, signal.SIGKILL),
    ]


def _stop(process: subprocess.Popen[bytes], kernel: int, number: signal.Signals) -> None:
    if number == signal.SIGINT:
        process.send_signal(number)  # the child hands it to the kernel, and to no worker of the kernel
    else:
        _send(kernel, number)
        _send(process.pid, number)


def _send(group: int, number: signal.Signals) -> None:
    if group:
        with suppress(ProcessLookupError):
            os.killpg(group, number)


def _kernel_id(scratch: Path) -> int:
    """The kernel's process id, which is also its group's; 0 where it is gone.

    Asks for the scratch folder in its command line: the number may by now belong to somebody else.
    """
    try:
        number = int((scratch / KERNEL).read_text())
        words = Path(f"/proc/{number}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return number if os.fsencode(scratch) in words else 0


def _child_failure(scratch: Path, status: int) -> Failure | None:
    if left := failures(scratch):
        return left[0]
    if status == 0:
        return None
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"left with exit code {status}"
    return Failure("ProcessDied", f"the process that runs the notebook {how}; log.txt has its last words.")


def _exit_code(failure: Failure | None, reason: str) -> int:
    if failure is None:
        return EXIT_DONE
    if reason == "interrupted":
        return EXIT_INTERRUPTED
    return failure.kind.exit_code if failure.kind else EXIT_FAILED


def _stop_failure(reason: str, job: Job) -> Failure:
    again = "What was trained so far is kept in a checkpoint: the same command goes on from there."
    if reason == "interrupted":
        return Failure("Interrupted", f"stopped by you. {again}")
    minutes = (job.timeout_s or 0) / 60
    return Failure("Timeout", f"stopped after {minutes:g} minutes, the limit given by --timeout. {again}")


def _message(failure: Failure) -> str:
    text = document.plain(failure.text).strip()
    if hint := _hint(failure):
        return f"{failure.name}: {text[:500].rstrip('.')}. {hint}"
    meant_for_users = failure.kind is not None or failure.name in ("Interrupted", "Timeout")
    return text if meant_for_users else f"{failure.name}: {text[:500]}"


def _hint(failure: Failure) -> str:
    """What may help; "" where nothing is known to."""
    if failure.name == "OSError":
        return next((hint for number, hint in _SYSTEM_HINTS.items() if f"[Errno {number}]" in failure.text), "")
    return _HINTS.get(failure.name, "")


def _write_notebook(job: Job, scratch: Path, failure: Failure | None, stamp: Callable[[], str]) -> Path | None:
    hidden = {str(scratch): "<temporary folder>", f"{job.root}{os.sep}": ""}
    resets = dict(job.resets) | {job.progress_parameter: '""'}
    dress = document.Dress(
        title=job.title,
        stamp="" if failure else stamp(),
        failure=(failure.name, _message(failure)) if failure else None,
        resets=resets,
        hidden=hidden,
    )
    try:
        content = document.normalise(document.read(scratch / EXECUTED), dress)
    except (OSError, ValueError):
        if failure is None:
            raise
        return None  # it failed before there was a notebook, or while papermill wrote it
    path = job.folder / (FAILED_NOTEBOOK if failure else DONE_NOTEBOOK)
    if failure is None:  # first: killed in between, the row's notebook is made again; after it, nothing would be
        (job.folder / FAILED_NOTEBOOK).unlink(missing_ok=True)
    write_whole(path, content)
    return path
