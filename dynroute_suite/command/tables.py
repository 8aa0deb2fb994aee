"""What `reproduce.py` shows people: the table of the finished rows, the spread over seeds, and the rows of `--list`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from dynroute_core.experiments import ROWS
from dynroute_core.published import PUBLISHED
from dynroute_core.runs.record import Record
from dynroute_suite.command.summary import RowResult, align_columns, short_path
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.numbers import gmacs, percent, significant
from dynroute_suite.report.seeds import by_setting
from dynroute_suite.report.tables import terminal_table

_PUBLISHED = ("paper_miou_percent", "paper_gmacs", "release_miou_percent", "release_gmacs")


def as_text(results: Sequence[RowResult], records: Sequence[Record], root: Path) -> str:
    """The table of the finished rows, and where every row's files lie; paths under `root` are shown from there."""
    lines = finished_lines(records)
    several = len({result.seed for result in results}) > 1
    for result in results:
        on = (f" seed {result.seed}" if several else "") + (f" on {result.route}" if result.route else "")
        lines.append(f"{result.row}{on}: {result.state}")
        if result.record:
            lines += [
                f"  notebook  {short_path(result.notebook, root)}",
                f"  record    {short_path(result.record, root)}",
            ]
        if result.picture:
            lines.append(f"  picture   {short_path(result.picture, root)}")
    return "\n".join(lines)


def finished_lines(records: Sequence[Record]) -> list[str]:
    """The table of finished runs with mean and spread over seeds; nothing for none."""
    return ["", terminal_table(records), seeds_text(records)] if records else []


def seeds_text(records: Sequence[Record]) -> str:
    """A line per setting of which there are several seeds; "" where there is none. The spread is the standard deviation
    (n − 1): it says nothing of the images."""
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
    rows = align_columns(lines, right={3, 4, 5, 6, 7})
    return "\n".join([*rows, "Mean and standard deviation (n − 1) over seeds.", ""])


def published_rows() -> list[dict[str, object]]:
    """Every row with its gate, its budget and the published numbers."""
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
    lines = align_columns(table, right=set(range(5, len(table[0]))))
    return "\n".join([*lines, "", "Published on Cityscapes val at 1024×2048; one multiply-accumulate counts one."])
