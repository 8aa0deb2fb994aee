"""Every finished run as a line of one CSV file, for those who go on from here with a program."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dynroute_suite.report.committed import Committed
from dynroute_suite.report.told_apart import told_apart

CSV = "measured.csv"
HEADER = (
    "row",
    "profile",
    "data",
    "setting",
    "seed",
    "miou_percent",
    "paper_macs_mean",
    "paper_macs_min",
    "paper_macs_max",
    "paper_macs_all_open",
    "repo_macs_mean",
    "nominal_height",
    "nominal_width",
    "images",
    "minutes",
    "key",
)


def measured_csv(runs: Sequence[Committed]) -> str:
    """HEADER, then a line per run. setting: what tells it apart from others of its row, profile and data set."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(HEADER)
    for one, words in zip(runs, told_apart([one.record for one in runs]), strict=True):
        record, paper = one.record, one.record.costs.paper
        names = [record.row, record.profile, record.data.name, words, record.seed, record.metrics.miou_percent]
        macs = [paper.mean_macs, paper.min_macs, paper.max_macs, paper.all_open_macs, record.costs.repo.mean_macs]
        size = [record.costs.nominal_height, record.costs.nominal_width, len(record.images)]
        lines.writerow([*names, *macs, *size, f"{record.durations.minutes:.2f}", record.key])
    return written.getvalue()
