"""Mean and spread of runs that differ in nothing but the seed, for a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from dynroute_core.runs.record import Record
from dynroute_suite.command.summary import aligned


def seeds_text(records: Sequence[Record]) -> str:
    """A line per setting of which there are several seeds; "" where there is none. The spread is the standard deviation
    (n − 1): it says nothing of the images."""
    from dynroute_suite.report.numbers import gmacs, percent, significant
    from dynroute_suite.report.results import Committed
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
