"""Fragment of the page on one's own pictures: the weights that ship."""

from __future__ import annotations

from dynroute_core.runs.shipped import find_shipped, shipped_rows
from dynroute_suite.report import markup
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.results import Results


def shipped(results: Results) -> str:
    """The rows whose weights ship, each with its run, what the weights reach as stored, and their size."""
    lines = []
    for each in (find_shipped(row, results.folder) for row in shipped_rows(results.folder)):
        run, facts = Committed(each.run.folder, each.run.record), each.facts
        lines.append(
            [
                f"`{facts.row}`",
                markup.link(each.run.folder.name, run.address),
                f"{facts.stored_miou_percent:.2f}",
                f"{facts.miou_percent:.2f}",
                f"{facts.size_bytes / 2**20:.2f}",
            ]
        )
    if not lines:
        return "No weights ship yet: give those of a run of your own."
    return markup.table(["row", "run", "mIoU % as stored", "in float32", "MB"], lines, right=2)
