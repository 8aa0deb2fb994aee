"""Fragments of the main table: what was published, with ours where a run followed the protocol; then what was measured
here, the seeds of a setting together. Every number of ours leads to the record that holds it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from dynroute_core.experiments import ROWS
from dynroute_core.published import PAPER, PROTOCOL, PUBLISHED, RELEASE, Published
from dynroute_core.runs.record import Record
from dynroute_suite.book.row_head import NO_NUMBERS, group_title, row_label, row_link, seeds_address
from dynroute_suite.report import markup
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.comparable import is_comparable, why_not_comparable
from dynroute_suite.report.measured import CSV
from dynroute_suite.report.numbers import NOTHING, gmacs, percent, signed
from dynroute_suite.report.results import Results
from dynroute_suite.report.row_state import row_state
from dynroute_suite.report.seeds import Seeds, by_setting, mean_and_spread
from dynroute_suite.report.tables import escape_markdown
from dynroute_suite.report.told_apart import told_apart

Number = Callable[[Record], float]
_SORTED = "```{raw} html\n<script src='../tables/sorted.js' defer></script>\n```"  # of book/_assets, which readers open


def published(results: Results) -> str:
    """Every row with a published number: paper, release, and ours where a run followed the protocol."""
    rows = [row for row in ROWS if _is_published(row)]
    ours = {row: found for row in rows if (found := _by_protocol(row, results))}
    header = ["row", "paper, mIoU %", "paper, GFLOPs", "release, mIoU %", "release, GFLOPs"]
    header += ["ours, mIoU %", "ours, GFLOPs, paper's way", "ours, GFLOPs, release's way"] * bool(ours)
    lines = []
    for row in rows:
        known = PUBLISHED[row]
        numbers = [known.paper_miou_percent, known.paper_gmacs, known.release_miou_percent, known.release_gmacs]
        line = [row_link(row, row_label(row)), *map(percent, numbers)]
        lines.append(line + (_our_cells(ours.get(row, ())) if ours else []))
    told = "" if ours else " No run of ours has followed this protocol yet, so there is no column of ours."
    caption = f"<p class='dr-caption'>{PROTOCOL}. Paper: {PAPER}. Release: {RELEASE}.{told}</p>"
    parts = [markup.table(header, lines, right=1), caption, *([_differences(ours)] if ours else [])]
    return "\n\n".join(parts)


def unpublished(results: Results) -> str:
    """The rows that nobody published a number of, and how far each is here."""
    rows = [row for row in ROWS if not _is_published(row)]
    states = [row_state(row, results) for row in rows]
    lines = [[row_link(state.row), f"{state.sign} {state.meaning}", escape_markdown(state.detail)] for state in states]
    return markup.table(["row", "state", "runs, or what is missing"], lines, right=3)


def measured(results: Results) -> str:
    """Our runs by another protocol: a table per profile and data set, a line per setting."""
    parts = []
    for (profile, data), runs in results.groups.items():
        apart = [one for one in runs if not is_comparable(one.record)]
        if apart:
            parts.append(f"### {group_title(profile, data)}\n\n{_measured_table(apart)}")
    if not parts:
        return "There is no such run yet."
    file = f"<p class='dr-caption'>All of it, every run a line: <a href='{CSV}' download>{CSV}</a>. The head of a "
    return "\n\n".join([*parts, f"{file}column sorts by it.</p>", _SORTED])


def _is_published(row: str) -> bool:
    known = PUBLISHED.get(row, NO_NUMBERS)
    return known.paper_miou_percent is not None or known.release_miou_percent is not None


def _by_protocol(row: str, results: Results) -> tuple[Committed, ...]:
    """A row's runs by the published protocol: the only ones that may stand beside published numbers."""
    return tuple(one for one in results.of_row(row) if is_comparable(one.record))


def _our_cells(found: Sequence[Committed]) -> list[str]:
    """Means over the runs; a single run's numbers open its record, several lead to the row's page."""
    if not found:
        return [NOTHING] * 3
    miou = mean_and_spread([_miou(one.record) for one in found])
    costs = (f"{_mean(found, number):.1f}" for number in (_paper_giga, _repo_giga))
    return [markup.link(number, seeds_address(found)) for number in (miou, *costs)]


def _mean(found: Sequence[Committed], number: Number) -> float:
    return statistics.fmean(number(one.record) for one in found)


def _miou(record: Record) -> float:
    return record.metrics.miou_percent


def _paper_giga(record: Record) -> float:
    return record.costs.paper.mean_macs / 1e9


def _repo_giga(record: Record) -> float:
    return record.costs.repo.mean_macs / 1e9


def _differences(ours: dict[str, tuple[Committed, ...]]) -> str:
    """Ours − published, each cost in the accounting of the number that it is taken from."""
    lines = [[row_link(row, row_label(row)), *_differences_of(PUBLISHED[row], found)] for row, found in ours.items()]
    header = ["ours − published", "mIoU, paper", "mIoU, release", "GFLOPs, paper", "GFLOPs, release"]
    return markup.table(header, lines, right=1)


def _differences_of(known: Published, found: Sequence[Committed]) -> list[str]:
    pairs = (
        (_miou, known.paper_miou_percent),
        (_miou, known.release_miou_percent),
        (_paper_giga, known.paper_gmacs),
        (_repo_giga, known.release_gmacs),
    )
    return [NOTHING if value is None else signed(_mean(found, number) - value) for number, value in pairs]


def _measured_table(runs: Sequence[Committed]) -> str:
    """Settings of one profile and data set, a line each; what sets a row's settings apart where it has several."""
    settings = by_setting(runs)
    apart = told_apart([same.runs[0].record for same in settings])
    names = ["row", *["setting"] * any(apart)]
    header = [*names, "seeds", "mIoU %", "GFLOPs, mean", "over images", "all open", "release's way"]
    lines = [
        [row_link(same.row, row_label(same.row)), *[escape_markdown(words)] * any(apart), *_measured_cells(same)]
        for same, words in zip(settings, apart, strict=True)
    ]
    records = [one.record for one in runs]
    sizes = dict.fromkeys(f"{one.costs.nominal_height}×{one.costs.nominal_width}" for one in records)
    reasons = dict.fromkeys(why_not_comparable(one) for one in records)
    note = (
        f"{escape_markdown('; '.join(reasons)).capitalize()}. {len(records[0].images)} images; "
        f"costs at {', '.join(sizes)}. mIoU: the mean over seeds ± their standard deviation (how many). "
        "A seed opens its record."
    )
    table = markup.table(header, lines, right=len(names) + 1)
    return f"{table}\n\n<p class='dr-caption'>{note}</p>"


def _measured_cells(same: Seeds) -> list[str]:
    """The seeds, each opening its record, and their means; those of a single run open its record as well."""
    costs = [one.record.costs for one in same.runs]
    low, high = min(cost.paper.min_macs for cost in costs), max(cost.paper.max_macs for cost in costs)
    numbers = [
        mean_and_spread([_miou(one.record) for one in same.runs]),
        gmacs(statistics.fmean(cost.paper.mean_macs for cost in costs)),
        "–".join(dict.fromkeys((gmacs(low), gmacs(high)))),
        gmacs(costs[0].paper.all_open_macs),
        gmacs(statistics.fmean(cost.repo.mean_macs for cost in costs)),
    ]
    seeds = " ".join(markup.link(str(one.record.seed), one.address) for one in same.runs)
    return [seeds, *(markup.link(number, seeds_address(same.runs)) for number in numbers)]
