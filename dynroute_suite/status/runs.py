"""How far every run below an OUT folder is, made with a cluster or without: read from files, locks and the queue.

A run's own files come first: a record means done, a held lock running. Then the queue of the cluster it was handed to,
then what its last attempt left. Nothing is started, opened or written; data sets are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from dynroute_core.runs.folders import parse_folder
from dynroute_core.runs.record import CHECKPOINT, PLAN, RECORD, Record, read_record
from dynroute_core.system.errors import BlockedError
from dynroute_suite.cluster.queue import GONE, Place, places
from dynroute_suite.cluster.submission import RunName, Submission, answer_path, log_path, read_answer, submissions
from dynroute_suite.notebook.document import failure_of
from dynroute_suite.notebook.sandbox import LOG, is_at_work
from dynroute_suite.notebook.supervisor import FAILED_NOTEBOOK

State = Literal["done", "running", "waiting", "interrupted", "failed", "not started"]
UNFINISHED = ("running", "waiting")
Name = tuple[str, str, str, int]  # row, profile, data, seed


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One run. mark: of a forced route or given weights, as its folder's name has it. iteration: trained so far, by its
    last checkpoint, of iterations; None where not known. log: where to read on, "" where nothing was written. job: the
    cluster's, "" without one."""

    row: str
    profile: str
    data: str
    seed: int
    state: State
    mark: str = ""
    iteration: int | None = None
    iterations: int | None = None
    message: str = ""
    folder: str = ""
    record: str = ""
    log: str = ""
    job: str = ""

    @property
    def name(self) -> Name:
        return self.row, self.profile, self.data, self.seed


@dataclass(frozen=True, kw_only=True)
class _HandOver:
    """A run as it was handed to a cluster: where, as which run of which task, and what became of the job."""

    folder: Path
    submission: Submission
    task: int
    place: Place

    @property
    def job(self) -> str:
        return self.submission.jobs[self.task] if self.submission.jobs else ""


def statuses(out: Path) -> list[RunStatus]:
    """Every run in OUT, and every one handed to a cluster that has no folder yet; by row, data and seed.

    Raises BlockedError where SLURM does not answer for jobs it was given, and for broken submissions.
    """
    handed = _latest_hand_overs(out)
    found = [_folder_status(path, handed.pop(str(path), None)) for path in _run_folders(out)]
    seen = {status.name for status in found}
    for run, how in handed.values():
        if run.folder or (run.row, run.profile, run.data, run.seed) not in seen:  # one without folder: a common network
            found.append(_status_without_folder(run, how))
    return sorted(found, key=lambda status: (status.profile, status.data, status.row, status.seed, status.folder))


def expected(found: Sequence[RunStatus], names: Iterable[Name]) -> list[RunStatus]:
    """Those of the runs that have one of the names, and the names of which there is none, as not started."""
    by_name: dict[Name, list[RunStatus]] = {}
    for status in found:
        by_name.setdefault(status.name, []).append(status)
    chosen = []
    for name in names:
        row, profile, data, seed = name
        missing = RunStatus(row=row, profile=profile, data=data, seed=seed, state="not started")
        chosen += by_name.get(name, [missing])
    return chosen


def records(found: Iterable[RunStatus]) -> list[Record]:
    """The records of the finished runs."""
    return [read_record(Path(status.record)) for status in found if status.record]


def _run_folders(out: Path) -> list[Path]:
    return sorted(path for path in out.glob("*/*") if parse_folder(path.name) and path.is_dir())


def _latest_hand_overs(out: Path) -> dict[str, tuple[RunName, _HandOver]]:
    """The latest hand-over of every run, by its folder, or by row and seed where that is not known."""
    every = submissions(out)
    known = places(each for each in every if not _all_done(each[1]))
    found: dict[str, tuple[RunName, _HandOver]] = {}
    for folder, submission in every:
        for index, task in enumerate(submission.tasks):
            place = known.get((submission.name, index), GONE)
            if not submission.jobs and place == GONE:
                continue  # killed before anything was handed over
            for run in task.runs:
                how = _HandOver(folder=folder, submission=submission, task=index, place=place)
                found.setdefault(run.folder or f"{run.row} {run.profile} {run.data} {run.seed}", (run, how))
    return found


def _all_done(submission: Submission) -> bool:
    """Whether no cluster needs to be asked: every run has left its record."""
    runs = [run for task in submission.tasks for run in task.runs]
    return all(run.folder and (Path(run.folder) / RECORD).exists() for run in runs)


def _folder_status(folder: Path, handed: tuple[RunName, _HandOver] | None) -> RunStatus:
    named = parse_folder(folder.name)
    assert named is not None
    iteration, iterations = _iterations(folder)
    log = folder / LOG
    status = RunStatus(
        row=folder.parent.name,
        profile=named.profile,
        data=named.data,
        seed=named.seed,
        mark=named.mark,
        state="not started",
        iteration=iteration,
        iterations=iterations,
        folder=str(folder),
        log=str(log) if log.exists() and log.stat().st_size else "",
        job=handed[1].job if handed else "",
    )
    if (folder / RECORD).exists():
        try:
            read_record(folder / RECORD)
        except BlockedError as error:
            return replace(status, state="failed", message=str(error))
        return replace(status, state="done", iteration=iterations, record=str(folder / RECORD))
    if is_at_work(folder):
        return replace(status, state="running")
    if handed and (queued := _queue_status(status, *handed)):
        return queued
    return _ended_status(status, handed)


def _status_without_folder(run: RunName, handed: _HandOver) -> RunStatus:
    status = RunStatus(row=run.row, profile=run.profile, data=run.data, seed=run.seed, state="waiting", job=handed.job)
    return _queue_status(status, run, handed) or _ended_status(status, (run, handed))


def _queue_status(status: RunStatus, run: RunName, handed: _HandOver) -> RunStatus | None:
    """The status of a run whose job is in the queue or at work; None where nothing more will come of it."""
    if handed.place.state == "gone":
        return None
    answered = _bad_end(run, handed)
    if answered and answered[0] == "failed":
        return None
    before = [other.row for other in handed.submission.tasks[handed.task].runs]
    before = before[: before.index(run.row)]
    slurm = handed.submission.cluster == "slurm"
    if slurm and handed.place.state == "running" and not before:  # its lock may not show on another machine
        return replace(status, state="running", message=handed.place.why)
    words = [handed.place.why, f"after {before[-1]}" if before else ""]
    return replace(status, state="waiting", message=", ".join(word for word in words if word))


def _bad_end(run: RunName, handed: _HandOver) -> tuple[State, str] | None:
    """How the job's command says that the run ended badly; None where it says nothing of it."""
    answer = read_answer(handed.folder, handed.task)
    if answer is None:
        return None
    row = next((row for row in answer.rows if row.row == run.row), None)
    if row is None:
        return ("failed", answer.message) if answer.message else None
    if row.state in ("failed", "blocked"):
        return "failed", row.message
    if row.state == "interrupted":
        return "interrupted", row.message
    if row.state == "not started":
        others = [other.row for other in answer.rows if other.state in ("failed", "blocked")]
        return ("failed", f"not run, as {others[0]} did not finish.") if others else None
    return None


def _ended_status(status: RunStatus, handed: tuple[RunName, _HandOver] | None) -> RunStatus:
    """The status of a run at which nobody is at work: what its last attempt left, the run's files or the job's."""
    failed = Path(status.folder) / FAILED_NOTEBOOK if status.folder else None
    said = failure_of(failed) if failed else None
    if handed:
        run, how = handed
        answered, answer = _bad_end(run, how), answer_path(how.folder, how.task)
        log = log_path(how.folder, how.job)
        status = replace(status, log=status.log or (str(log) if log.exists() else ""))
        if answered and (said is None or failed is None or _change_time(answer) >= _change_time(failed)):
            return replace(status, state=answered[0], message=answered[1])
        if said is None and answered is None and not answer.exists():
            why = f" ({how.place.why})" if how.place.why else ""
            text = f"its job {how.job} left the queue without a word{why}: killed, out of memory, or the node failed."
            return replace(status, state="failed", message=text)
    if said is not None:
        name, text = said
        return replace(status, state="interrupted" if name == "Interrupted" else "failed", message=text)
    if status.iterations is None:
        return replace(status, state="failed", message="it ended before its data were open.")
    return replace(status, state="interrupted", message="it ended without a word; the same command goes on.")


def _change_time(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _iterations(folder: Path) -> tuple[int | None, int | None]:
    """(iterations trained by the last checkpoint, iterations in all)."""
    total = done = None
    with suppress(OSError, ValueError, LookupError, TypeError):
        total = int(json.loads((folder / PLAN).read_bytes())["config"]["train"]["iterations"])
    with (
        suppress(OSError, ValueError, LookupError, TypeError, SafetensorError),
        safe_open(folder / CHECKPOINT, framework="np") as file,
    ):
        facts: Mapping[str, object] = json.loads(file.metadata()["facts"])
        done = facts["iteration"]
    return done if isinstance(done, int) else 0 if total is not None else None, total
