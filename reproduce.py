"""Reproduces rows of the published table: one executed notebook and one record per row.

    python reproduce.py --row dynamic-c       minutes on a laptop: small networks, generated street scenes
    python reproduce.py --row dynamic-c --profile full --data cityscapes=/data/cityscapes

Exit codes: 0 done, 1 a row failed, 2 usage, 3 blocked (data or weights missing), 130 interrupted. A row that was
interrupted goes on with the same command; a row that is finished is not run again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from dynroute_core.system.errors import (
    EXIT_BLOCKED,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    BlockedError,
    DynrouteError,
)
from dynroute_core.system.machine import pick_device
from dynroute_suite.command.session import ROOT, Session, open_session, parser

if TYPE_CHECKING:  # imported where used: `--help` and a mistyped option answer at once
    from dynroute_core.experiments import Experiment
    from dynroute_core.runs.plan import RunPlan
    from dynroute_suite.command.export import Target
    from dynroute_suite.command.forced_route import RouteChoice
    from dynroute_suite.command.summary import RowResult
    from dynroute_suite.notebook.supervisor import Outcome


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = parser(__doc__ or "").parse_args(words)
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        if arguments.list:
            return list_rows(as_json=arguments.json)
        if arguments.status:
            return show_status(arguments)
        session = open_session(arguments)
        if arguments.convert:
            return convert_weights(session)
        os.chdir(ROOT)  # generated data lie beside this file, wherever the command was called
        if arguments.dry_run:
            return dry_run(session)
        return hand_over(session) if session.cluster else reproduce(session)
    except DynrouteError as error:
        if arguments.json:
            print(json.dumps({"exit_code": error.exit_code, "message": str(error), "rows": []}))
        print(f"reproduce.py: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nreproduce.py: interrupted; the same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def list_rows(*, as_json: bool) -> int:
    """Shows every row."""
    from dynroute_suite.command.summary import published_rows, published_text

    print(json.dumps(published_rows(), indent=1) if as_json else published_text())
    return EXIT_DONE


def show_status(arguments: Namespace) -> int:
    """Says how far runs are: those that the rest of the command names or, where it names no row, every one."""
    from dynroute_suite.status.text import status_json, status_text, statuses_of

    found = statuses_of(arguments)
    if arguments.json:
        print(json.dumps({"exit_code": EXIT_DONE, "message": "", "rows": status_json(found)}, indent=1))
    print(status_text(found, ROOT), file=sys.stderr if arguments.json else sys.stdout)
    return EXIT_DONE


def hand_over(session: Session) -> int:
    """Hands the runs over to a cluster and says of each what happens to it."""
    from dynroute_suite.cluster.submit import submit
    from dynroute_suite.command.summary import exit_code

    results = [*submit(session, plan_row), *session.results.values()]
    for result in results:
        session.say(f"{result.row} seed {result.seed}: {result.state}")
    session.say("  how far they are: the same command with --status")
    code = exit_code(results)
    if session.arguments.json:
        print(json.dumps({"exit_code": code, "message": "", "rows": [asdict(result) for result in results]}, indent=1))
    return code


def convert_weights(session: Session) -> int:
    """Writes the given weights in our format."""
    from dynroute_suite.command.given_weights import convert

    target = session.arguments.convert.expanduser()
    what = convert(session.experiments[0], target)
    session.say(f"{target}: {what}")
    if session.arguments.json:
        print(json.dumps({"exit_code": EXIT_DONE, "message": what, "rows": []}))
    return EXIT_DONE


def plan_row(session: Session, experiment: Experiment) -> RunPlan | None:
    """The row's plan; with --keep-going, None for a row that cannot start, which is then in the results."""
    from dynroute_core.runs.plan import plan

    try:
        return plan(
            experiment, data_root=session.options.data_root, out=session.options.out, force=session.options.force
        )
    except DynrouteError as error:
        if not session.arguments.keep_going:
            raise
        session.results[session.name(experiment)] = could_not_start(session, experiment, error)
        return None


def could_not_start(session: Session, experiment: Experiment, error: DynrouteError) -> RowResult:
    """Says why, and gives the result."""
    from dynroute_suite.command.summary import not_started

    session.say(f"{session.name(experiment)}: {error}")
    state = "blocked" if error.exit_code == EXIT_BLOCKED else "failed"
    return replace(not_started(experiment), state=state, exit_code=error.exit_code, message=str(error))


def reproduce(session: Session) -> int:
    """Plans every row, so that a missing data set shows before hours of work; runs them one by one; shows the table.

    What is taken from another row of this command can be planned only after that row has run.
    """
    from dynroute_core.runs.record import read_record
    from dynroute_suite.command.summary import as_text, exit_code, not_started

    plans = {session.name(each): plan_row(session, each) for each in session.experiments if not session.source(each)}
    for experiment in session.experiments:
        name = session.name(experiment)
        if name not in plans:
            plans[name] = plan_row(session, experiment)
        if (plan := plans[name]) is None:
            continue
        session.results[name] = result = run_row(session, experiment, plan)
        if session.route and result.record:
            name = f"{name} on {session.route.text}"
            plan, result = run_forced(session, experiment, plan, session.route)
            session.results[name] = result
        if session.export and result.record:
            session.results[name] = result = export_row(session, result, plan, session.export)
        if result.exit_code == EXIT_INTERRUPTED or (result.exit_code and not session.arguments.keep_going):
            break
    names = {session.name(each): each for each in session.experiments}
    results = [session.results.get(name) or not_started(each, plans.get(name)) for name, each in names.items()]
    results += [result for name, result in session.results.items() if name not in plans]  # on forced routes
    records = [read_record(Path(result.record)) for result in results if result.record]
    session.say(as_text(results, records, ROOT))
    code = exit_code(results)
    if session.arguments.json:
        print(json.dumps({"exit_code": code, "message": "", "rows": [asdict(result) for result in results]}, indent=1))
    return code


def run_row(session: Session, experiment: Experiment, plan: RunPlan) -> RowResult:
    """Runs one row and says how it went."""
    from dynroute_suite.command.summary import not_started, with_numbers
    from dynroute_suite.notebook import row as rows
    from dynroute_suite.notebook.sandbox import LOG

    result = not_started(experiment, plan)
    forced = session.options.force
    reused = plan.finished and not forced
    name = session.name(experiment)
    session.say(f"{name}: {'reused' if reused else 'runs'}, {'--force' if forced else plan.reason}")
    try:
        outcome = rows.run_row(experiment, plan, session.options)
    except BlockedError as error:
        session.say(f"{name}: {error}")
        return replace(result, state="blocked", exit_code=error.exit_code, message=str(error))
    log = plan.folder / LOG
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
    return with_numbers(replace(result, state="reused" if reused else "done"), rows.checked_record(plan))


def run_forced(
    session: Session, experiment: Experiment, own: RunPlan, choice: RouteChoice
) -> tuple[RunPlan, RowResult]:
    """Evaluates a finished row on a forced route, a run beside the row's: its plan and how it went.

    With --keep-going, one that cannot start has the row's own plan.
    """
    from dynroute_core.runs.plan import plan

    try:
        evaluated, options = choice.of(experiment, own, session.options)
        planned = plan(evaluated, data_root=options.data_root, out=options.out, force=options.force)
    except DynrouteError as error:
        if not session.arguments.keep_going:
            raise
        return own, replace(could_not_start(session, experiment, error), route=choice.text)
    return planned, replace(run_row(replace(session, options=options), evaluated, planned), route=choice.text)


def export_row(session: Session, result: RowResult, plan: RunPlan, target: Target) -> RowResult:
    """Writes a finished run's predictions; one whose export cannot be written is blocked, its record stays."""
    from dynroute_suite.command.export import export
    from dynroute_suite.command.summary import shown

    try:
        folder = export(
            plan,
            target,
            data_root=session.options.data_root,
            device=pick_device(session.options.device),
            force=session.options.force,
        )
    except DynrouteError as error:
        session.say(f"{result.row}: {error}")
        return replace(result, state="blocked", exit_code=error.exit_code, message=str(error))
    session.say(f"{result.row}: {target.split} predictions in {shown(str(folder), ROOT)}")
    return replace(result, export=str(folder))


def _explain(session: Session, result: RowResult, outcome: Outcome) -> None:
    from dynroute_suite.command.summary import shown

    lines = [f"{result.row}: {outcome.message}"]
    if outcome.notebook:
        lines.append(f"  notebook so far  {shown(str(outcome.notebook), ROOT)}")
    if outcome.state == "failed" and outcome.exit_code == EXIT_FAILED:
        lines.append(f"  output           {shown(result.log, ROOT)}")
        lines.append("  next             read the end of that output; the same command tries again")
    session.say("\n".join(lines))


def dry_run(session: Session) -> int:
    """Says for each row where it would run, and why."""
    from dynroute_suite.command.summary import exit_code, shown
    from dynroute_suite.notebook.row import is_fresh

    found = []
    waiting: set[str] = set()
    for experiment in session.experiments:
        name, source = session.name(experiment), session.source(experiment)
        if source and session.name(source) in waiting:
            reason = f"after {source.row}, whose open paths it consists of"
            found.append({"row": experiment.row, "would": "run", "reason": reason, "folder": "", "key": ""})
            session.say(f"{name}: would run, {reason}")
            continue
        plan = plan_row(session, experiment)
        if plan is None:
            reason = session.results[name].message
            found.append({"row": experiment.row, "would": "block", "reason": reason, "folder": "", "key": ""})
            continue
        would = "run" if session.options.force or not plan.finished else "reuse"
        if would == "run":
            waiting.add(name)
        reason = "--force" if session.options.force else plan.reason
        if would == "reuse" and not is_fresh(plan):
            reason += "; its notebook is made anew"
        folder = str(plan.folder)
        found.append({"row": experiment.row, "would": would, "reason": reason, "folder": folder, "key": plan.key})
        then = f"\n  then evaluate it on {session.route.text}" if session.route else ""
        session.say(f"{name}: would {would}, {reason}\n  {shown(folder, ROOT)}{then}")
    code = exit_code(list(session.results.values()))
    if session.arguments.json:
        print(json.dumps({"exit_code": code, "message": "", "rows": found}, indent=1))
    return code


if __name__ == "__main__":
    sys.exit(main())
