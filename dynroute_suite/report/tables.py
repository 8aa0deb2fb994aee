"""The tables: a run beside the published numbers, runs beside each other, a run's settings and classes.

A number of ours stands beside a published one with its profile, data set, seed and nominal size; a difference is shown
only where the protocol is the published one, and elsewhere the reason why not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from dynroute_core.published import PROTOCOL, PUBLISHED, Published
from dynroute_core.runs.marks import augmentation
from dynroute_core.runs.record import Record
from dynroute_suite.report.comparable import changed_settings, why_not_comparable
from dynroute_suite.report.numbers import GFLOPS, NOTHING, gmacs, percent, signed, significant

LONGEST_LIST = 12  # of a setting shown whole: a fixed network has a hundred paths
_NO_NUMBERS = Published("", None, None, None, None)


def comparison_table(record: Record) -> pd.DataFrame:
    """The record beside the published numbers, as text: mIoU in percent, costs in GFLOPs, each in both accountings.

    The paper's costs compare with ours in its accounting, the release's with ours in the released code's.
    """
    published = PUBLISHED.get(record.row, _NO_NUMBERS)
    reason = why_not_comparable(record)
    words = [f"{record.profile} profile", record.data.name, f"seed {record.seed}", _size(record), *record.marks]
    ours_name = f"ours: {', '.join(words)}"
    miou = record.metrics.miou_percent
    lines = [
        ("mIoU (%)", published.paper_miou_percent, published.release_miou_percent, miou, percent(miou)),
        _cost_line("paper", published.paper_gmacs, None, record.costs.paper.mean_macs),
        _cost_line("released code", None, published.release_gmacs, record.costs.repo.mean_macs),
    ]
    columns: dict[str, list[str]] = {"paper": [], "release": [], ours_name: []}
    differences: dict[str, list[str]] = {"ours − paper": [], "ours − release": []}
    for _, paper, release, value, ours in lines:
        columns["paper"].append(percent(paper))
        columns["release"].append(percent(release))
        columns[ours_name].append(ours)
        for name, other in (("ours − paper", paper), ("ours − release", release)):
            differences[name].append(NOTHING if other is None else reason or signed(value - other))
    return pd.DataFrame({**columns, **differences}, index=pd.Index([line[0] for line in lines], name=record.row))


def _cost_line(
    accounting: str, paper: float | None, release: float | None, macs: float
) -> tuple[str, float | None, float | None, float, str]:
    return f"GFLOPs, {accounting}'s accounting", paper, release, macs / 1e9, gmacs(macs)


def _size(record: Record) -> str:
    return f"{record.costs.nominal_height}×{record.costs.nominal_width}"


def comparison_markdown(record: Record) -> str:
    """The comparison as a Markdown table with its protocol and sources beneath; names from data are escaped."""
    table = comparison_table(record)
    published = PUBLISHED.get(record.row, _NO_NUMBERS)
    lines = [
        markdown_table(
            [str(table.index.name), *table.columns],
            [[name, *row] for name, row in zip(table.index, table.values.tolist(), strict=True)],
        )
    ]
    lines.append(f"Published: {PROTOCOL}.")
    sources = [
        f"{name}: {source}"
        for name, source in (("paper", published.paper_source), ("release", published.release_source))
        if source
    ]
    if sources:
        lines.append(f"Sources: {'; '.join(sources)}.")
    reason = why_not_comparable(record)
    if reason:
        lines.append(f"**{escape_markdown(reason.capitalize())}.**")
    changed = changed_settings(record)
    if changed:
        lines.append(f"Settings that are not the row's own: {escape_markdown(', '.join(changed))}.")
    if published.note:
        lines.append(published.note)
    return "\n\n".join(lines) + "\n"


def terminal_table(records: Sequence[Record]) -> str:
    """Runs in aligned plain text, one a line, for a terminal. Costs in GFLOPs, time in minutes."""
    header = [
        "row",
        "profile",
        "data",
        "seed",
        "mIoU %",
        "GFLOPs paper",
        "GFLOPs repo",
        "at",
        "images",
        "minutes",
    ]
    lines = [
        [
            record.row + " *" * bool(record.marks),
            record.profile,
            record.data.name,
            str(record.seed),
            percent(record.metrics.miou_percent),
            gmacs(record.costs.paper.mean_macs),
            gmacs(record.costs.repo.mean_macs),
            _size(record),
            str(len(record.images)),
            significant(record.durations.minutes),
        ]
        for record in records
    ]
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    text_columns = {0, 1, 2}

    def aligned(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(wide) if column in text_columns else cell.rjust(wide)
            for column, (cell, wide) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * wide for wide in widths)
    note = f"{GFLOPS}; repo: the released code's accounting."
    notes = [note, *(f"* {record.row}: {', '.join(record.marks)}." for record in records if record.marks)]
    if any(augmentation(record.config) for record in records):
        notes.append("  Of test-time augmentation the cost is the sum over the views.")
    return "\n".join([aligned(header), rule, *(aligned(line) for line in lines), *notes]) + "\n"


def settings_table(experiment: object) -> str:
    """Settings as a compact Markdown table, a line per group: `train | lr 0.05 · batch 8`.

    experiment: a dataclass or a mapping with text keys, nested as you like. Raises TypeError for anything else.
    """
    plain = _plain(experiment)
    if not isinstance(plain, Mapping):
        raise TypeError(f"settings of type {type(experiment).__name__}: give a dataclass or a mapping.")
    groups: dict[str, list[str]] = {"run": []}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            groups[str(key)] = [_setting(name, item) for name, item in _flat(value)]
        else:
            groups["run"].append(_setting(str(key), value))
    return markdown_table(["group", "settings"], [[name, " · ".join(items)] for name, items in groups.items() if items])


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _flat(group: Mapping[object, object], prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in group.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found


def _setting(name: str, value: object) -> str:
    if value is None or value == [] or value == ():
        return f"{name} {NOTHING}"
    if isinstance(value, bool):
        return f"{name} {'yes' if value else 'no'}"
    if isinstance(value, float):
        return f"{name} {value:g}"
    if isinstance(value, list | tuple) and len(value) > LONGEST_LIST:
        return f"{name} {value[0]}, {value[1]}, … ({len(value)} in all)"
    if isinstance(value, list | tuple):
        return f"{name} {', '.join(f'{item:g}' if isinstance(item, float) else str(item) for item in value)}"
    return f"{name} {value}"


def class_table(record: Record) -> pd.DataFrame:
    """Every class's IoU in percent, one decimal, in the data set's order; missing where a class never occurs."""
    values = record.metrics.class_iou_percent
    numbers = [None if value is None else round(value, 1) for value in values.values()]
    return pd.DataFrame({"IoU (%)": pd.array(numbers, dtype="Float64")}, index=pd.Index(list(values), name="class"))


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every cell is escaped, columns of numbers are aligned right."""
    numeric = [all(_is_number(line[column]) for line in lines) and bool(lines) for column in range(len(header))]
    rule = ["---:" if right else ":---" for right in numeric]
    written = [[escape_markdown(cell) for cell in line] for line in [header, *lines]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [written[0], rule, *written[1:]])


def _is_number(cell: str) -> bool:
    return cell == NOTHING or cell.lstrip("+−±-").replace(".", "", 1).isdigit()


def escape_markdown(cell: str) -> str:
    """Text that Markdown and HTML show as it stands, on one line, wherever it stands in it."""
    text = escape(" ".join(cell.split()), quote=False)
    for sign in "\\`*_|[]$~{}":
        text = text.replace(sign, "\\" + sign)
    return _BEGINNING.sub(r"\\\g<0>", text)


# Of headings, lists, fences, rules, comments and targets: they count at the beginning of a line alone.
_BEGINNING = re.compile(r"^(?:[#:=%@]|[-+](?![0-9])|\((?=[^)]*\)=))|(?<=^[0-9])[.)](?= )|(?<=^[0-9]{2})[.)](?= )")
