"""What stands at the head of a row's page: its state, its numbers in one table, how to run it, and what went wrong."""

from __future__ import annotations

from urllib.parse import quote

from dynroute_core.experiments import ROWS
from dynroute_core.published import PROTOCOL, PUBLISHED, Published
from dynroute_core.runs.marks import from_scratch
from dynroute_core.runs.record import CURVE, RECORD, ROUTES, Record
from dynroute_suite.report import markup
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.comparable import changed_settings, is_comparable
from dynroute_suite.report.failures import LOG, FailedRun
from dynroute_suite.report.numbers import NOTHING, gmacs, percent
from dynroute_suite.report.results import Results
from dynroute_suite.report.row_state import commands, needs, row_state
from dynroute_suite.report.tables import escape_markdown

NO_NUMBERS = Published("", None, None, None, None)


def overview(row: str, results: Results) -> str:
    """The head of a row's page, in Markdown."""
    state = row_state(row, results)
    parts = [f"<span class='dr-state dr-{state.kind}'>{state.sign} {escape_markdown(state.meaning)}</span>"]
    found = results.of_row(row)
    parts.append(_numbers(row, found))
    note = PUBLISHED.get(row, NO_NUMBERS).note
    parts += [note] if note else []
    if not any(is_comparable(one.record) for one in found):
        parts.append(_how_to_run(row))
    parts += [_failure_section(failure) for failure in results.failures_of(row)]
    return "\n\n".join(parts)


def _numbers(row: str, found: tuple[Committed, ...]) -> str:
    """Published numbers and every record of the row, each line with what it was measured on."""
    published = PUBLISHED.get(row, NO_NUMBERS)
    lines = [
        [
            "paper",
            "Cityscapes, as published",
            percent(published.paper_miou_percent),
            _published_cost(published.paper_gmacs),
        ],
        [
            "release",
            "Cityscapes, as published",
            percent(published.release_miou_percent),
            _published_cost(published.release_gmacs),
        ],
    ]
    if published.paper_miou_percent is None and published.release_miou_percent is None:
        lines = []
    lines += [["ours", escape_markdown(protocol(one.record)), miou(one), cost(one)] for one in found]
    if not lines:
        return "No published number of this row is at hand, and none was measured here yet."
    table = markup.table(["", "measured on", "mIoU %", "GFLOPs"], lines, right=2)
    caption = (
        f"Published: {PROTOCOL}. Ours: the profile, data set and input size of its line, in the paper's accounting."
    )
    warning = "" if all(is_comparable(one.record) for one in found) else " Lines measured differently do not compare."
    return f"{table}\n\n<p class='dr-caption'>{caption}{warning}</p>"


def _published_cost(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def protocol(record: Record) -> str:
    """What a record was measured on, in a table's cell."""
    costs = record.costs
    size = f"{costs.nominal_height}×{costs.nominal_width}"
    words = [f"{record.profile} profile", record.data.name, f"seed {record.seed}", size, from_scratch(record.config)]
    words += ["other settings"] if changed_settings(record) else []
    return ", ".join(filter(None, words))


def miou(one: Committed) -> str:
    """A record's mIoU, which opens the record."""
    return markup.link(percent(one.record.metrics.miou_percent), one.address)


def cost(one: Committed) -> str:
    """A record's mean cost in the paper's accounting, which opens the record."""
    return markup.link(gmacs(one.record.costs.paper.mean_macs), one.address)


def downloads(one: Committed) -> str:
    """Links to what a run left in the repository."""
    home = one.address.removesuffix(RECORD)
    names = [name for name in (RECORD, ROUTES, CURVE) if (one.folder / name).is_file()]
    return "Files: " + ", ".join(f"[{name}]({home}{name})" for name in names) + "."


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
