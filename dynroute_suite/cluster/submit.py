"""Hands rows and seeds over to a cluster through submitit, each run as a job of an array; the queue does the rest.

A run that is finished, at work or in the queue is not handed over again. A common network consists of what another
row's run opens: both are one job, one after the other, so nothing depends on the queue's order. On this machine alone
(`local`) jobs run one after the other, or as many at once as `array_parallelism` says.
"""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dynroute_core.experiments import Experiment
from dynroute_core.runs.plan import RunPlan
from dynroute_core.runs.record import RECORD, read_record
from dynroute_core.system.errors import BlockedError
from dynroute_core.system.locks import locked
from dynroute_suite.cluster.job import Command, RowJob
from dynroute_suite.cluster.queue import places, take_back
from dynroute_suite.cluster.submission import (
    RunName,
    Submission,
    Task,
    answer_path,
    discard,
    home,
    make_private,
    submissions,
    write_submission,
)
from dynroute_suite.command.cluster_options import ClusterChoice, executor
from dynroute_suite.command.options import job_words
from dynroute_suite.command.run import plan_row
from dynroute_suite.command.session import Session
from dynroute_suite.command.summary import RowResult, not_started, with_numbers
from dynroute_suite.notebook.sandbox import is_at_work

if TYPE_CHECKING:
    from submitit import Executor


@dataclass(frozen=True)
class _ChainRun:
    """A run of a chain, and what is to be done about it: reused, running, waiting, or submitted."""

    experiment: Experiment
    plan: RunPlan | None
    state: str

    @property
    def name(self) -> RunName:
        chosen, folder = self.experiment, str(self.plan.folder) if self.plan else ""
        return RunName(row=chosen.row, profile=chosen.profile, data=chosen.data.name, seed=chosen.seed, folder=folder)

    @property
    def result(self) -> RowResult:
        result = replace(not_started(self.experiment, self.plan), state=self.state)
        return with_numbers(result, read_record(Path(result.folder) / RECORD)) if self.state == "reused" else result


def submit(session: Session) -> list[RowResult]:
    """Plans every run and hands over what is to be done; gives a result per run, last those that cannot start.

    Starts nothing here. Raises BlockedError where another submission is under way, or the cluster refuses.
    """
    choice, out = session.cluster, session.options.out
    assert choice is not None
    make_private(home(out))
    with locked(home(out)):
        _take_back_unfinished(out)
        waiting = _queued_folders(out)
        refused: list[RowResult] = []
        chains = [_decide(session, chain, waiting, refused) for chain in _chains(session)]
        tasks = [_task(session, chain) for chain in chains if any(run.state == "submitted" for run in chain)]
        if tasks:
            _hand_over(session, choice, tasks)
    return [run.result for chain in chains for run in chain] + refused


def _chains(session: Session) -> list[list[Experiment]]:
    """The runs of each job: a row, and the common networks that are taken from it."""
    chains: dict[str, list[Experiment]] = {}
    for experiment in session.experiments:
        source = session.source(experiment)
        name = session.name(source or experiment)
        chains.setdefault(name, []).append(experiment)  # a source comes before what is taken from it
    return list(chains.values())


def _decide(
    session: Session, chain: Sequence[Experiment], waiting: set[str], refused: list[RowResult]
) -> list[_ChainRun]:
    """What is to be done about each run of a chain. waiting: folders of runs in the queue. A run that cannot start goes
    to `refused`, with what is taken from it."""
    runs: list[_ChainRun] = []
    for experiment in chain:
        if runs and runs[0].state != "reused":  # what is taken from a run can be planned once that is finished
            runs.append(_ChainRun(experiment, None, _state_after(runs[0], waiting)))
            continue
        plan = plan_row(session, experiment)
        if isinstance(plan, RowResult):
            refused += [plan, *map(not_started, chain[len(runs) + 1 :])]
            return runs
        folder = str(plan.folder)
        states = {"reused": plan.finished, "running": is_at_work(plan.folder), "waiting": folder in waiting}
        runs.append(_ChainRun(experiment, plan, next((state for state, holds in states.items() if holds), "submitted")))
    return runs


def _state_after(source: _ChainRun, waiting: set[str]) -> str:
    """The state of a common network whose source is not finished: in the queue with it, or nowhere."""
    if source.state != "running":
        return source.state
    return "waiting" if source.name.folder in waiting else "not started"


def _task(session: Session, chain: Sequence[_ChainRun]) -> Task:
    words = job_words(session.arguments, [run.experiment.row for run in chain], chain[0].experiment.seed)
    return Task(words=tuple(words), runs=tuple(run.name for run in chain))


def _queued_folders(out: Path) -> set[str]:
    """The folders of the runs whose jobs wait or run."""
    every = submissions(out)
    known = places(every)
    return {
        run.folder
        for _, submission in every
        for index, task in enumerate(submission.tasks)
        if (place := known.get((submission.name, index))) and place.state != "gone"
        for run in task.runs
        if run.folder
    }


def _take_back_unfinished(out: Path) -> None:
    """Submissions that were killed while they handed over: whether they reached the queue or not, they are undone."""
    for folder, submission in submissions(out):
        if not submission.jobs:
            take_back(folder, submission)
            discard(folder)


def _hand_over(session: Session, choice: ClusterChoice, tasks: Sequence[Task]) -> None:
    name = f"dynroute-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    out = session.options.out
    folder = home(out) / name
    make_private(folder)
    made = Submission(name=name, cluster=choice.name, tasks=tuple(tasks))
    write_submission(folder, made)
    commands = [
        Command(
            words=task.words,
            answer=str(answer_path(folder, index)),
            folders=tuple(f"{glob.escape(str(out))}/{run.row}/*-seed{run.seed}-*" for run in task.runs),
        )
        for index, task in enumerate(tasks)
    ]
    lanes = min(choice.lanes, len(tasks)) if choice.name == "local" else len(tasks)
    work = [
        RowJob(commands=tuple(commands[lane::lanes]), here=str(session.here), patience_s=choice.patience_s)
        for lane in range(lanes)
    ]
    try:
        jobs = _submit_jobs(executor(choice, folder, name), work)
    except BaseException:
        take_back(folder, made)
        discard(folder)
        raise
    write_submission(folder, replace(made, jobs=tuple(jobs[index % lanes] for index in range(len(tasks)))))
    how = f"scancel --name={name}" if choice.name == "slurm" else f"kill -INT {' '.join(jobs)}"
    session.say(f"{len(tasks)} jobs handed over as {name}, their logs in {folder}\n  to stop them: {how}")


def _submit_jobs(made: Executor, work: Sequence[RowJob]) -> list[str]:
    """Hands the work over; gives the jobs' numbers. Raises BlockedError with what the cluster complains of."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with _clean_surroundings():
            return [job.job_id for job in made.submit_array(work)]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        said = str(error).strip() or type(error).__name__
        raise BlockedError(
            f"the cluster takes no jobs: {said}. Look at the --cluster-options; nothing is left."
        ) from error


@contextmanager
def _clean_surroundings() -> Iterator[None]:
    """What jobs inherit: nothing of a job that this command itself may run in, and no pipe that somebody reads (a local
    job would hold it open)."""
    from submitit.helpers import clean_env

    kept = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    saved = {number: os.dup(number) for number in (1, 2)}
    try:
        with Path(os.devnull).open("wb") as nowhere:
            for number in saved:
                os.dup2(nowhere.fileno(), number)
        with clean_env():
            os.environ.update(kept)
            yield
    finally:
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)
