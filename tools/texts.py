"""What the repository's texts show of its sources and records: their tables, and the picture of README.md.

    python tools/texts.py            # writes them anew (`make texts`)
    python tools/texts.py --check    # writes nothing; names what is stale and exits with 1

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; its function is in TABLES.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean

from dynroute_core.experiments import ROWS, Experiment
from dynroute_core.published import PUBLISHED
from dynroute_core.runs.record import RECORD, ROUTES, read_record, read_routes
from dynroute_core.system.files import write_whole
from dynroute_suite.figures.examples import street_figure
from dynroute_suite.figures.style import Picture, shown_in_page, standalone
from dynroute_suite.report import markup
from dynroute_suite.report.numbers import NOTHING, percent
from dynroute_suite.report.results import Results
from dynroute_suite.report.seeds import Seeds, by_setting
from dynroute_suite.report.speed_record import read_speed
from dynroute_suite.report.speed_tables import DTYPES, gain_range
from dynroute_suite.report.told_apart import told_apart

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ("README.md", "kernels/README.md", "book/results/measured.md")
PICTURE = ROOT / "book" / "_static" / "street.svg"
SHOWN_RUN = ROOT / "results" / "dynamic-c" / "demo-streets-seed0"  # what `make reproduce` runs
SHOWN_ROLE = "dearest"
SPEED = ROOT / "results" / "speed"
TABLE = re.compile(r"(?s)(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end -->)")


def rows() -> str:
    """The rows beside the published numbers; rows that differ in their name alone share a line."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in ROWS.values():
        alike.setdefault(_row_facts(row), []).append(f"`{row.row}`")
    header = ["row", "network", "gate", "budget λ, μ", "paper mIoU, GFLOPs", "release mIoU, GFLOPs"]
    return markup.table(header, [[" ".join(names), *facts] for facts, names in alike.items()], right=6)


def _row_facts(row: Experiment) -> tuple[str, ...]:
    network = f"Layer{row.model.layers}"
    if row.model.paths:
        network += ", the static route's cells alone"
    if row.common:
        network += ", what the dynamic row mostly opens"
    budget = row.train.budget
    known = PUBLISHED[row.row]
    return (
        network,
        row.model.gate,
        f"{budget.weight:g}, {budget.target:g}" if budget else NOTHING,
        _pair(known.paper_miou_percent, known.paper_gmacs),
        _pair(known.release_miou_percent, known.release_gmacs),
    )


def _pair(miou_percent: float | None, gmacs: float | None) -> str:
    return NOTHING if miou_percent is None else f"{percent(miou_percent)}, {percent(gmacs)}"


def measured(data: str) -> str:
    """The committed runs on a data set, seeds together. Costs in the paper's accounting; minutes of all stages."""
    runs = [one for one in Results().committed if one.record.data.name == data]
    header = ["row", "profile", "n", "mIoU %, mean", "spread", "GFLOPs, mean", "over images", "all open", "minutes"]
    settings = by_setting(runs)
    apart = told_apart([same.runs[0].record for same in settings])
    lines = [_measured_line(same, words) for same, words in zip(settings, apart, strict=True)]
    return markup.table(header, lines, right=2)


def _measured_line(same: Seeds, words: str) -> list[str]:
    """words: what sets it apart from other settings of its row."""
    first = same.runs[0].record
    costs = [one.record.costs.paper for one in same.runs]
    return [
        f"`{first.row}`",
        ", ".join(filter(None, (first.profile, words))),
        str(same.n),
        percent(same.mean_percent),
        percent(same.spread),
        f"{fmean(cost.mean_macs for cost in costs) / 1e9:.3f}",
        f"{min(cost.min_macs for cost in costs) / 1e9:.3f}–{max(cost.max_macs for cost in costs) / 1e9:.3f}",
        f"{costs[0].all_open_macs / 1e9:.3f}",
        f"{fmean(one.record.durations.minutes for one in same.runs):.1f}",
    ]


def gains() -> str:
    """Each compiled operation's gain over plain torch."""
    record = read_speed(SPEED / "operations-1024x2048-cpu-default.json")
    parts = dict.fromkeys(one.part for one in record.measurements)
    lines = [[part, *(gain_range(record, part, dtype) for dtype in DTYPES)] for part in parts]
    return markup.table(["operation", *DTYPES], lines, right=1)


def whole_network() -> str:
    """The whole network's time on both engines, every path open, and its gain over the model."""
    record = read_speed(SPEED / "inference-open-1024x2048-cpu-default.json")
    base = next(one.median_ms for one in record.measurements if one.subject == "model")
    lines = [[one.subject, f"{one.median_ms:.0f}", f"{base / one.median_ms:.1f}×"] for one in record.measurements]
    return markup.table(["1024×2048", "ms", "against the model"], lines, right=1)


TABLES: Mapping[str, Callable[[], str]] = {
    "rows": rows,
    "measured-camvid": partial(measured, "camvid"),
    "measured-streets": partial(measured, "streets"),
    "operation-gains": gains,
    "network-gains": whole_network,
}


def renewed(text: str) -> str:
    """A text with its tables as they should be. Raises KeyError for a table that TABLES does not have."""
    return TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[4]}", text)


def street() -> Picture:
    """The picture of README.md, from a committed run's example."""
    record, routes = read_record(SHOWN_RUN / RECORD), read_routes(SHOWN_RUN / ROUTES)
    return street_figure(SHOWN_RUN, record, routes, SHOWN_ROLE)


def stale() -> list[str]:
    """The texts whose tables are not as they should be, and the picture where its words are another run's. (Its bytes
    are not compared: JPEG comes out differently from one release of Pillow to the next.)"""
    found = [name for name in TEXTS if (text := (ROOT / name).read_text(encoding="utf-8")) != renewed(text)]
    there = PICTURE.is_file() and shown_in_page(PICTURE.read_text(encoding="utf-8")).alt == street().alt
    return found if there else [*found, PICTURE.relative_to(ROOT).as_posix()]


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    if words == ["--check"]:
        found = stale()
        print("".join(f"{name} is stale: `make texts` writes it anew.\n" for name in found), end="")
        return 1 if found else 0
    if words:
        print("usage: texts.py [--check]", file=sys.stderr)
        return 2
    for name in TEXTS:
        path = ROOT / name
        write_whole(path, renewed(path.read_text(encoding="utf-8")).encode())
    write_whole(PICTURE, standalone(street()).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
