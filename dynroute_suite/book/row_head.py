"""What stands at the head of a row's page: its state, its numbers in one table, how to run it, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from urllib.parse import quote

from dynroute_core.experiments import ROWS
from dynroute_core.published import PROTOCOL, PUBLISHED, Published
from dynroute_core.runs.marks import from_scratch
from dynroute_core.runs.record import CURVE, RECORD, ROUTES, Record
from dynroute_suite.figures.style import ROW_LABELS
from dynroute_suite.report import markup
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.comparable import changed_settings, is_comparable
from dynroute_suite.report.failures import LOG, FailedRun
from dynroute_suite.report.numbers import NOTHING, gmacs, percent
from dynroute_suite.report.results import Results
from dynroute_suite.report.row_state import commands, needs, row_state
from dynroute_suite.report.seeds import Seeds, by_setting, mean_and_spread
from dynroute_suite.report.tables import escape_markdown
from dynroute_suite.report.told_apart import told_apart

PACKED = (ROUTES, CURVE)  # offered as .gz: megabytes otherwise
NO_NUMBERS = Published("", None, None, None, None)


def row_address(row: str) -> str:
    """Where a row's page is, from the book's root."""
    return f"/rows/{row}.md"


def row_link(row: str, text: str = "") -> str:
    """A link to a row's page."""
    return markup.link(text or ROWS[row].title, row_address(row))


def seeds_address(found: Sequence[Committed]) -> str:
    """Where a number of these runs of one row leads: a single run's to its record, a mean to the row's page."""
    return found[0].address if len(found) == 1 else row_address(found[0].record.row)


def row_label(row: str) -> str:
    """A row's short name, as figures have it."""
    return ROW_LABELS.get(row, row)


def group_title(profile: str, data: str) -> str:
    """What the runs of a profile and a data set stand under."""
    return escape_markdown(f"{profile.capitalize()} profile on {data}")


@dataclass(frozen=True)
class NamedSetting:
    """A row's runs of one setting. name: its profile, data set, and what sets it apart where the row has several."""

    name: str
    same: Seeds

    @property
    def row(self) -> str:
        return self.same.row


def named_settings(found: Sequence[Committed]) -> list[NamedSetting]:
    """A row's finished runs, the seeds of a setting together."""
    settings = by_setting(found)
    firsts = [same.runs[0].record for same in settings]
    return [
        NamedSetting(", ".join(filter(None, (first.profile, first.data.name, words))), same)
        for first, same, words in zip(firsts, settings, told_apart(firsts), strict=True)
    ]


def overview(row: str, results: Results) -> str:
    """The head of a row's page, in Markdown: its state, its numbers, what else is known of it."""
    state = row_state(row, results)
    badge = f"<span class='dr-state dr-{state.kind}'>{state.sign} {escape_markdown(state.meaning)}</span>"
    note = PUBLISHED.get(row, NO_NUMBERS).note
    return "\n\n".join([badge, _numbers(row, results.of_row(row)), *([note] if note else [])])


def run_and_failures(row: str, results: Results) -> list[str]:
    """The end of a row's page: how to run it, where that was not done as published, and the runs that failed."""
    told = any(is_comparable(one.record) for one in results.of_row(row))
    parts = [] if told else [_how_to_run(row)]
    return [*parts, *(_failure_section(failure) for failure in results.failures_of(row))]


def _numbers(row: str, found: Sequence[Committed]) -> str:
    """Published numbers and the row's settings, each line with what it was measured on."""
    known = PUBLISHED.get(row, NO_NUMBERS)
    lines = [
        [name, "Cityscapes, as published", percent(miou), _published_cost(cost)]
        for name, miou, cost in (
            ("paper", known.paper_miou_percent, known.paper_gmacs),
            ("release", known.release_miou_percent, known.release_gmacs),
        )
        if miou is not None
    ]
    lines += [_setting_line(one) for one in named_settings(found)]
    if not lines:
        return "No published number of this row is at hand, and none was measured here yet."
    table = markup.table(["", "measured on", "mIoU %", "GFLOPs"], lines, right=2)
    caption = (
        f"Published: {PROTOCOL}. Ours: the profile, data set and input size of its line, in the paper's accounting; "
        "mean over seeds ± standard deviation (how many)."
    )
    warning = "" if all(is_comparable(one.record) for one in found) else " Lines measured differently do not compare."
    return f"{table}\n\n<p class='dr-caption'>{caption}{warning}</p>"


def _setting_line(one: NamedSetting) -> list[str]:
    """A setting's line; the numbers of a single run open its record, means lead to the files they are of."""
    records = [run.record for run in one.same.runs]
    numbers = [
        mean_and_spread([record.metrics.miou_percent for record in records]),
        gmacs(fmean(record.costs.paper.mean_macs for record in records)),
    ]
    address = one.same.runs[0].address if one.same.n == 1 else "#files"
    return [
        "ours",
        escape_markdown(protocol(records[0], one.name)),
        *(markup.link(number, address) for number in numbers),
    ]


def _published_cost(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def protocol(record: Record, name: str) -> str:
    """What a setting was measured on, in a table's cell."""
    size = f"{record.costs.nominal_height}×{record.costs.nominal_width}"
    other = "other settings" if changed_settings(record) else ""
    return ", ".join(filter(None, (name, size, from_scratch(record.config), other)))


def downloads(one: Committed, names: Sequence[str]) -> list[str]:
    """A link to each of these files of a run; a dash for one that it did not leave."""
    home = one.address.removesuffix(RECORD)
    offered = {name: f"{name}.gz" if name in PACKED else name for name in names}
    return [f"[{it}]({home}{it})" if (one.folder / name).is_file() else NOTHING for name, it in offered.items()]


def _how_to_run(row: str) -> str:
    told = commands(row)
    reasons = "\n".join(f"- {sentence}" for sentence in needs(ROWS[row]))
    return (
        f":::{{admonition}} Not run by the published protocol yet\n:class: note\n{reasons}\n\n"
        f"With the data and a GPU at hand:\n\n{markup.block(told['full'], 'bash')}\n\n"
        f"In minutes on a laptop, at the demo profile, generated streets:\n\n{markup.block(told['demo'], 'bash')}\n:::"
    )


def _failure_section(failure: FailedRun) -> str:
    """A failed run: what happened, what to do, the cell, the trace and the log's end."""
    home = f"/records/{quote(failure.folder.parent.name)}/{quote(failure.folder.name)}/"
    what = "Blocked" if failure.blocked else "Failed"
    parts = [
        f"## {what}: {escape_markdown(failure.folder.name)}",
        f":::{{admonition}} {escape_markdown(failure.name)}\n:class: error\n{markup.block(failure.message)}\n:::",
        f"**Next step.** {failure.next_step}",
    ]
    for title, text, language in (
        ("The cell that raised it", failure.source, "python"),
        ("The trace", failure.trace, "text"),
        (f"The end of {LOG}", failure.log, "text"),
    ):
        if text:
            parts += [f"### {title}", markup.block(text, language)]
    parts.append(
        f"The notebook as it stopped: {{download}}`failed.ipynb <{home}failed.ipynb>`. Nothing in it is a result."
    )
    return "\n\n".join(parts)
