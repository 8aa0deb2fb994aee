"""What `reproduce.py` says at the end, and in `--list`: a line per row, for people and for programs."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dynroute_core.runs.record import RECORD, Record
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE

if TYPE_CHECKING:
    from dynroute_core.experiments import Experiment
    from dynroute_core.runs.plan import Plan

_WORST_FIRST = (EXIT_INTERRUPTED, EXIT_FAILED, EXIT_BLOCKED, EXIT_USAGE)
_PUBLISHED = ("paper_miou_percent", "paper_gmacs", "release_miou_percent", "release_gmacs")


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
    log: str = ""
    export: str = ""
    route: str = ""
    miou_percent: float | None = None
    paper_gmacs: float | None = None
    repo_gmacs: float | None = None
    minutes: float | None = None


def not_started(experiment: Experiment, plan: Plan | None = None) -> RowResult:
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
    spent = record.durations
    return replace(
        result,
        record=str(Path(result.folder) / RECORD),
        miou_percent=record.metrics.miou_percent,
        paper_gmacs=record.costs.paper.mean_macs / 1e9,
        repo_gmacs=record.costs.repo.mean_macs / 1e9,
        minutes=(spent.train_s + spent.precise_bn_s + spent.evaluate_s) / 60,
    )


def exit_code(results: Sequence[RowResult]) -> int:
    """The exit code of a command with these results: the worst one."""
    codes = {result.exit_code for result in results}
    return next((worst for worst in _WORST_FIRST if worst in codes), EXIT_DONE)


def as_text(results: Sequence[RowResult], records: Sequence[Record], root: Path) -> str:
    """The table of the finished rows, and where every row's files lie; paths under `root` are shown from there."""
    lines = []
    if records:
        from dynroute_suite.report.tables import terminal_table

        lines += ["", terminal_table(records), seeds_text(records)]
    several = len({result.seed for result in results}) > 1
    for result in results:
        on = (f" seed {result.seed}" if several else "") + (f" on {result.route}" if result.route else "")
        lines.append(f"{result.row}{on}: {result.state}")
        if result.record:
            lines += [f"  notebook  {shown(result.notebook, root)}", f"  record    {shown(result.record, root)}"]
    return "\n".join(lines)


def seeds_text(records: Sequence[Record]) -> str:
    """A line per setting of which there are several seeds; "" where there is none. The spread is the standard deviation
    (n − 1): it says nothing of the images."""
    from dynroute_suite.report.committed import Committed
    from dynroute_suite.report.numbers import gmacs, percent, significant
    from dynroute_suite.report.seeds import by_setting

    lines = [["row", "profile", "data", "n", "mIoU %", "spread", "GFLOPs paper", "spread", "seeds"]]
    for same in by_setting([Committed(Path(), record) for record in records]):
        if same.spread is None:
            continue
        one = same.runs[0].record
        macs = [run.record.costs.paper.mean_macs for run in same.runs]
        names = [one.row + " *" * bool(one.marks), one.profile, one.data.name, str(same.n)]
        miou = [percent(same.mean_percent), significant(same.spread)]
        cost = [gmacs(statistics.fmean(macs)), significant(statistics.stdev(macs) / 1e9)]
        lines.append([*names, *miou, *cost, ", ".join(str(run.record.seed) for run in same.runs)])
    if len(lines) == 1:
        return ""
    rows = aligned(lines, right={3, 4, 5, 6, 7})
    return "\n".join([*rows, "Mean and standard deviation (n − 1) over seeds.", ""])


def aligned(table: Sequence[Sequence[str]], *, right: Collection[int]) -> list[str]:
    """Lines of words as columns of one width each, those in `right` aligned there."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            word.rjust(wide) if column in right else word.ljust(wide)
            for column, (word, wide) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def shown(path: str, root: Path) -> str:
    """A path as a person wants to read it."""
    whole = Path(path)
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else path


def published_rows() -> list[dict[str, object]]:
    """Every row with its gate, its budget and the published numbers."""
    from dynroute_core.experiments import ROWS
    from dynroute_core.published import PUBLISHED

    found: list[dict[str, object]] = []
    for name, row in ROWS.items():
        budget = row.train.budget
        found.append(
            {
                "row": name,
                "title": row.title,
                "gate": row.model.gate,
                "layers": row.model.layers,
                "budget_target": budget.target if budget else None,
                "budget_weight": budget.weight if budget else None,
            }
            | {number: getattr(PUBLISHED[name], number) for number in _PUBLISHED}
        )
    return found


def published_text() -> str:
    """`published_rows` as a table for a terminal."""
    table = [["row", "title", "gate", "layers", "budget", "paper mIoU", "GFLOPs", "release mIoU", "GFLOPs"]]
    for row in published_rows():
        budget = f"{row['budget_target']} (weight {row['budget_weight']})" if row["budget_target"] else "none"
        numbers = ["–" if row[name] is None else f"{row[name]:.1f}" for name in _PUBLISHED]
        table.append([str(row[name]) for name in ("row", "title", "gate", "layers")] + [budget, *numbers])
    lines = aligned(table, right=set(range(5, len(table[0]))))
    return "\n".join([*lines, "", "Published on Cityscapes val at 1024×2048; one multiply-accumulate counts one."])
