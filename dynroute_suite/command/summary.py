"""How the rows of a command ended, for programs, and how lines for people are laid out. Without torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dynroute_core.runs.record import RECORD, Record
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE

if TYPE_CHECKING:
    from dynroute_core.experiments import Experiment
    from dynroute_core.runs.plan import RunPlan

_WORST_FIRST = (EXIT_INTERRUPTED, EXIT_FAILED, EXIT_BLOCKED, EXIT_USAGE)


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """One row's result. state: done, reused, failed, blocked, interrupted or not started.

    Paths are "" where there is no file; route is a forced one, "" where the gates chose; minutes are the work's, sums
    over interrupted attempts.
    """

    row: str
    profile: str
    data: str
    seed: int
    state: str = "not started"
    exit_code: int = EXIT_DONE
    message: str = ""
    folder: str = ""
    key: str = ""
    notebook: str = ""
    record: str = ""
    picture: str = ""
    log: str = ""
    export: str = ""
    route: str = ""
    miou_percent: float | None = None
    paper_gmacs: float | None = None
    repo_gmacs: float | None = None
    minutes: float | None = None


def not_started(experiment: Experiment, plan: RunPlan | None = None) -> RowResult:
    """The result of a row before anything happened."""
    return RowResult(
        row=experiment.row,
        profile=experiment.profile,
        data=experiment.data.name,
        seed=experiment.seed,
        folder=str(plan.folder) if plan else "",
        key=plan.key if plan else "",
    )


def with_numbers(result: RowResult, record: Record) -> RowResult:
    """The result with the record's numbers."""
    return replace(
        result,
        record=str(Path(result.folder) / RECORD),
        miou_percent=record.metrics.miou_percent,
        paper_gmacs=record.costs.paper.mean_macs / 1e9,
        repo_gmacs=record.costs.repo.mean_macs / 1e9,
        minutes=record.durations.minutes,
    )


def exit_code(results: Sequence[RowResult]) -> int:
    """The exit code of a command with these results: the worst one."""
    codes = {result.exit_code for result in results}
    return next((worst for worst in _WORST_FIRST if worst in codes), EXIT_DONE)


def align_columns(table: Sequence[Sequence[str]], *, right: Collection[int]) -> list[str]:
    """Lines of words as columns of one width each, those in `right` aligned there."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            word.rjust(wide) if column in right else word.ljust(wide)
            for column, (word, wide) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def short_path(path: str, root: Path) -> str:
    """A path as a person wants to read it."""
    whole = Path(path)
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else path
