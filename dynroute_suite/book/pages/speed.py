"""What the book's page on speed includes: the records that the benchmarks left in `results/speed/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from dynroute_suite.figures.speed import curves, time_figure
from dynroute_suite.figures.style import figure_block
from dynroute_suite.report import markup
from dynroute_suite.report.numbers import NOTHING, significant
from dynroute_suite.report.results import results_folder
from dynroute_suite.report.speed_record import Measurement, SpeedRecord, read_speed
from dynroute_suite.report.tables import escape_markdown

NOT_YET = "*No measurement of this is committed yet: `make bench` makes one.*"


def records() -> list[SpeedRecord]:
    """Every committed speed record, by file name."""
    return [read_speed(path) for path in sorted((results_folder() / "speed").glob("*.json"))]


def with_part(part: str) -> list[tuple[SpeedRecord, list[Measurement]]]:
    """The records that have measurements of a part, with these."""
    found = ((record, [one for one in record.measurements if one.part == part]) for record in records())
    return [(record, some) for record, some in found if some]


def where(record: SpeedRecord) -> str:
    """On what a record was measured: no figure stands without it."""
    here = record.machine
    allocator = "freed memory kept" if here.allocator == "keep" else "default allocator"
    runs = "; short form, few runs" if record.short else ""
    chosen = here.instruction_set or "instruction set not recorded"
    processor = f"{here.device} ({chosen})" if here.device == "cpu" else here.device
    dirty = " with changes" if here.dirty else ""
    return escape_markdown(
        f"{record.title}. {here.device_name}, {processor}, {here.threads} threads, {allocator}, "
        f"torch {here.versions['torch']}, commit {here.commit[:8]}{dirty}{runs}."
    )


def times_table(some: Sequence[Measurement], peaks: Mapping[str, float], reference: str) -> str:
    """A line per measurement; `reference` names the subject that the others are compared with, at equal size, items
    and share."""
    base = {(one.height, one.width, one.items, one.share): one.median_ms for one in some if one.subject == reference}
    header = ["subject", "size", "images", "MACs %", "median ms", "least to most", f"× {reference}", "% of peak"]
    lines = []
    for one in some:
        same = base.get((one.height, one.width, one.items, one.share))
        dtype = next((name for name in peaks if name in one.subject.replace("bf16", "bfloat16")), "float32")
        reached = 100 * one.macs / one.median_ms / 1e6 / peaks[dtype]
        lines.append(
            [
                escape_markdown(one.subject),
                f"{one.height}×{one.width}",
                str(one.items),
                f"{100 * one.share:.0f}",
                significant(one.median_ms),
                f"{significant(one.low_ms)} – {significant(one.high_ms)}",
                NOTHING if same is None else f"{same / one.median_ms:.2f}",
                f"{reached:.0f}" if one.macs else NOTHING,
            ]
        )
    return markup.table(header, lines, right=1)


def part_tables(part: str, reference: str) -> str:
    """Every record of a part: where it was measured, then its table."""
    shown = [
        f"{where(record)}\n\n{times_table(some, record.machine.peak_gmacs_per_s, reference)}"
        for record, some in with_part(part)
    ]
    return "\n\n".join(shown) or NOT_YET


def routes() -> str:
    """Time against MACs: a figure per record, and its numbers."""
    shown = []
    for record, some in with_part("routes"):
        lines = [
            [escape_markdown(subject), *(f"{100 * share:.0f}: {100 * time:.0f}" for share, time in points)]
            for subject, points in curves(some).items()
        ]
        header = ["% of MACs: % of time", *[""] * (len(lines[0]) - 1)]
        shown.append(f"{where(record)}\n\n{figure_block(time_figure(some))}\n\n{markup.table(header, lines, right=1)}")
    return "\n\n".join(shown) or NOT_YET


def memory() -> str:
    shown = []
    for record, some in with_part("memory"):
        lines = [
            [escape_markdown(one.subject), f"{one.height}×{one.width}", f"{one.peak_mb:.0f}"]
            for one in some
            if one.peak_mb is not None
        ]
        shown.append(f"{where(record)}\n\n{markup.table(['subject', 'size', 'MB beside the weights'], lines, right=1)}")
    return "\n\n".join(shown) or NOT_YET


def loading() -> str:
    shown = []
    for record, some in with_part("loading"):
        lines = [
            [escape_markdown(one.subject), f"{one.height}×{one.width}", significant(1e3 * one.items / one.median_ms)]
            for one in some
        ]
        shown.append(f"{where(record)}\n\n{markup.table(['what', 'size', 'images a second'], lines, right=1)}")
    return "\n\n".join(shown) or NOT_YET


def goals() -> str:
    """Every goal with what came out, met or not."""
    lines = [
        [
            escape_markdown(record.title + (" (short form)" if record.short else "")),
            escape_markdown(goal.text),
            f"{'≥' if goal.higher else '≤'} {goal.wanted:g}",
            f"{goal.measured:.2f}",
            "met" if goal.met else "**not met**",
        ]
        for record in records()
        for goal in record.goals
    ]
    return markup.table(["benchmark", "goal", "wanted", "measured", ""], lines, right=2) if lines else NOT_YET


FRAGMENTS: Mapping[str, Callable[[], str]] = {
    "speed_open": partial(part_tables, "open", "model"),
    "speed_routes": routes,
    "speed_batch": partial(part_tables, "batch", "model"),
    "speed_memory": memory,
    "speed_training": partial(part_tables, "published", "plain NCHW float32"),
    "speed_training_demo": partial(part_tables, "demo", "plain NCHW float32"),
    "speed_loading": loading,
    "speed_goals": goals,
}
