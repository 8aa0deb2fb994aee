"""The rows of one command: planned, run one by one, evaluated on a forced route, exported; or only looked at."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from dynroute_core.experiments import Experiment
from dynroute_core.runs.plan import RunPlan, plan
from dynroute_core.runs.record import Record
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_FAILED, EXIT_INTERRUPTED, BlockedError, DynrouteError
from dynroute_core.system.machine import pick_device, processor_quota
from dynroute_suite.command.export import Target, export
from dynroute_suite.command.forced_route import RouteChoice
from dynroute_suite.command.options import ROOT
from dynroute_suite.command.picture import keep_summary
from dynroute_suite.command.session import Session
from dynroute_suite.command.summary import RowResult, not_started, short_path, with_numbers
from dynroute_suite.notebook.row import checked_record, is_fresh, run_row
from dynroute_suite.notebook.sandbox import LOG
from dynroute_suite.notebook.supervisor import Outcome

Planned = RunPlan | RowResult  # with --keep-going, the result of a row that cannot start


def plan_row(session: Session, experiment: Experiment) -> Planned:
    """The row's plan; with --keep-going, the result of a row that cannot start."""
    options = session.options
    try:
        return plan(experiment, data_root=options.data_root, out=options.out, force=options.force)
    except DynrouteError as error:
        return _refuse(session, experiment, error)


def _refuse(session: Session, experiment: Experiment, error: DynrouteError) -> RowResult:
    """The result of a row that cannot start, once its reason is said. Without --keep-going, raises the error."""
    if not session.arguments.keep_going:
        raise error
    session.say(f"{session.name(experiment)}: {error}")
    state = "blocked" if error.exit_code == EXIT_BLOCKED else "failed"
    return replace(not_started(experiment), state=state, exit_code=error.exit_code, message=str(error))


def say_quota(session: Session) -> None:
    """Says where a container has less time of its processors than threads are started for."""
    quota, threads = processor_quota(), torch.get_num_threads()
    if quota is not None and threads > math.ceil(quota):
        session.say(
            f"{threads} threads share {quota:g} processors, this container's limit, and wait for each other. "
            f"If runs are slow, try OMP_NUM_THREADS={max(1, int(quota))}."
        )


def run_rows(session: Session) -> list[RowResult]:
    """Plans every row, so that a missing data set shows before hours of work; runs them one by one.

    What is taken from another row of this command can be planned only after that row has run. Gives a result per row,
    then those on forced routes.
    """
    say_quota(session)
    named = {session.name(each): each for each in session.experiments}
    planned = {name: plan_row(session, each) for name, each in named.items() if not session.source(each)}
    own: dict[str, RowResult] = {}
    forced: list[RowResult] = []
    for name, experiment in named.items():
        if name not in planned:
            planned[name] = plan_row(session, experiment)
        if isinstance(row := planned[name], RowResult):
            continue
        own[name], *more = ran = _run_and_export(session, experiment, row)
        forced += more
        if ran[-1].exit_code == EXIT_INTERRUPTED or (ran[-1].exit_code and not session.arguments.keep_going):
            break
    return [own.get(name) or _result_without_run(each, planned.get(name)) for name, each in named.items()] + forced


def _result_without_run(experiment: Experiment, planned: Planned | None) -> RowResult:
    return planned if isinstance(planned, RowResult) else not_started(experiment, planned)


def _run_and_export(session: Session, experiment: Experiment, own: RunPlan) -> list[RowResult]:
    """Runs one row, evaluates it on the forced route where one is asked for, and exports the last: a result each."""
    results = [_run_one(session, experiment, own)]
    last = own
    if session.route and results[0].record:
        last, forced = _run_forced(session, experiment, own, session.route)
        results.append(forced)
    if session.export and results[-1].record:
        results[-1] = _export(session, results[-1], last, session.export)
    return results


def _run_one(session: Session, experiment: Experiment, planned: RunPlan) -> RowResult:
    """Runs one row and says how it went."""
    result = not_started(experiment, planned)
    forced = session.options.force
    reused = planned.finished and not forced
    name = session.name(experiment)
    session.say(f"{name}: {'reused' if reused else 'runs'}, {'--force' if forced else planned.reason}")
    try:
        outcome = run_row(experiment, planned, session.options)
    except BlockedError as error:
        session.say(f"{name}: {error}")
        return replace(result, state="blocked", exit_code=error.exit_code, message=str(error))
    log = planned.folder / LOG
    result = replace(
        result,
        notebook=str(outcome.notebook or ""),
        log=str(log) if log.exists() else "",
        message=outcome.message,
        exit_code=EXIT_INTERRUPTED if outcome.interrupted else outcome.exit_code,
    )
    if outcome.state != "done":
        _explain(session, result, outcome)
        return replace(result, state="blocked" if outcome.exit_code == EXIT_BLOCKED else outcome.state)
    return _with_picture(session, replace(result, state="reused" if reused else "done"), checked_record(planned))


def _with_picture(session: Session, result: RowResult, record: Record) -> RowResult:
    """The result with the record's numbers, and its picture; says why where it has none."""
    result = with_numbers(result, record)
    try:
        return replace(result, picture=str(keep_summary(Path(result.folder), record)))
    except BlockedError as error:
        session.say(f"{result.row}: no picture: {error}")
        return result


def _explain(session: Session, result: RowResult, outcome: Outcome) -> None:
    lines = [f"{result.row}: {outcome.message}"]
    if outcome.notebook:
        lines.append(f"  notebook so far  {short_path(str(outcome.notebook), ROOT)}")
    if outcome.state == "failed" and outcome.exit_code == EXIT_FAILED:
        lines.append(f"  output           {short_path(result.log, ROOT)}")
        lines.append("  next             read the end of that output; the same command tries again")
    session.say("\n".join(lines))


def _run_forced(
    session: Session, experiment: Experiment, own: RunPlan, choice: RouteChoice
) -> tuple[RunPlan, RowResult]:
    """Evaluates a finished row on a forced route, a run beside the row's: its plan and how it went.

    With --keep-going, one that cannot start has the row's own plan.
    """
    try:
        evaluated, options = choice.evaluation(experiment, own, session.options)
        planned = plan(evaluated, data_root=options.data_root, out=options.out, force=options.force)
    except DynrouteError as error:
        return own, replace(_refuse(session, experiment, error), route=choice.text)
    return planned, replace(_run_one(replace(session, options=options), evaluated, planned), route=choice.text)


def _export(session: Session, result: RowResult, planned: RunPlan, target: Target) -> RowResult:
    """Writes a finished run's predictions; one whose export cannot be written is blocked, its record stays."""
    options = session.options
    try:
        folder = export(
            planned,
            target,
            data_root=options.data_root,
            device=pick_device(options.device),
            force=options.force,
        )
    except DynrouteError as error:
        session.say(f"{result.row}: {error}")
        return replace(result, state="blocked", exit_code=error.exit_code, message=str(error))
    session.say(f"{result.row}: {target.split} predictions in {short_path(str(folder), ROOT)}")
    return replace(result, export=str(folder))


@dataclass(frozen=True, kw_only=True)
class Intention:
    """What would become of a row. would: run, reuse or block."""

    row: str
    would: str
    reason: str
    folder: str = ""
    key: str = ""


def dry_run(session: Session) -> tuple[list[dict[str, str]], list[RowResult]]:
    """Says for each row where it would run, and why; gives that, and the results of those that cannot start."""
    found: list[Intention] = []
    refused: list[RowResult] = []
    waiting: set[str] = set()
    for experiment in session.experiments:
        name, source = session.name(experiment), session.source(experiment)
        if source and session.name(source) in waiting:
            reason = f"after {source.row}, whose open paths it consists of"
            found.append(Intention(row=experiment.row, would="run", reason=reason))
            session.say(f"{name}: would run, {reason}")
            continue
        planned = plan_row(session, experiment)
        if isinstance(planned, RowResult):
            refused.append(planned)
            found.append(Intention(row=experiment.row, would="block", reason=planned.message))
            continue
        found.append(_intention(session, experiment, planned))
        if found[-1].would == "run":
            waiting.add(name)
    return [asdict(each) for each in found], refused


def _intention(session: Session, experiment: Experiment, planned: RunPlan) -> Intention:
    forced = session.options.force
    would = "run" if forced or not planned.finished else "reuse"
    reason = "--force" if forced else planned.reason
    if would == "reuse" and not is_fresh(planned):
        reason += "; its notebook is made anew"
    folder = str(planned.folder)
    then = f"\n  then evaluate it on {session.route.text}" if session.route else ""
    session.say(f"{session.name(experiment)}: would {would}, {reason}\n  {short_path(folder, ROOT)}{then}")
    return Intention(row=experiment.row, would=would, reason=reason, folder=folder, key=planned.key)
