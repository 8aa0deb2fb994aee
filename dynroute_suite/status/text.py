"""`reproduce.py --status`: which runs are meant, and how far they are, for people and for programs."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dynroute_core.system.errors import UsageError, suggest
from dynroute_suite.command.options import expanded, profile_of, rows_of, seeds_of
from dynroute_suite.command.summary import align_columns, short_path
from dynroute_suite.status.runs import UNFINISHED, RunStatus, expected, records, statuses


def statuses_of(arguments: Namespace) -> list[RunStatus]:
    """The runs that the command names, not started ones too; every run in --out where it names no row.

    Raises UsageError for rows that do not exist, BlockedError as `statuses`.
    """
    if arguments.seeds < 1:
        raise UsageError(f"--seeds {arguments.seeds}: give a whole number of at least 1.")
    found = statuses(expanded(arguments.out).resolve())
    if not (arguments.row or arguments.all):
        return found
    from dynroute_core.experiments import ROWS  # needs torch, which takes seconds
    from dynroute_suite.command.shipped_weights import with_shipped

    for row in arguments.row:
        if row not in ROWS:
            raise suggest("row", row, ROWS)
    arguments = with_shipped(arguments) if arguments.row else arguments
    profile, data = profile_of(arguments), arguments.data.partition("=")[0]
    rows, seeds = rows_of(arguments, ROWS), seeds_of(arguments)
    return expected(found, [(row, profile, data, seed) for row in rows for seed in seeds])


def status_json(found: Sequence[RunStatus]) -> list[dict[str, object]]:
    """A dictionary per run, as `RunStatus` has it."""
    return [asdict(status) for status in found]


def status_text(found: Sequence[RunStatus], root: Path) -> str:
    """A line per run, what is wrong with those that did not finish and, once nobody is at work any more, the table of
    the finished ones with mean and spread over seeds."""
    if not found:
        return "There is no run here yet."
    lines = [["row", "profile", "data", "seed", "state", "iterations", ""]]
    for status in found:
        words = [status.row, status.profile, status.data, str(status.seed), status.state, _iterations_text(status)]
        job = f"job {status.job}" if status.job and status.state != "done" else ""
        lines.append([*words, " ".join(word for word in (status.mark, job) if word)])
    text = align_columns(lines, right={3, 5})
    for status in found:
        if status.message or (status.log and status.state == "failed"):
            text.append(f"{status.row} seed {status.seed}: {status.message}")
            if status.log and status.state in ("failed", "interrupted"):
                text.append(f"  output  {short_path(status.log, root)}")
    counts = Counter(status.state for status in found)
    text.append(", ".join(f"{count} {state}" for state, count in counts.items()))
    if not any(status.state in UNFINISHED for status in found) and (finished := records(found)):
        from dynroute_suite.command.tables import finished_lines

        text += finished_lines(finished)
    return "\n".join(text).rstrip()


def _iterations_text(status: RunStatus) -> str:
    return "" if status.iterations is None else f"{status.iteration or 0}/{status.iterations}"
