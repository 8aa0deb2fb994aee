"""Tables of what the benchmarks measured: times, gains of compiled operations, goals; each with its machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dynroute_suite.report import markup
from dynroute_suite.report.numbers import NOTHING, significant
from dynroute_suite.report.speed_record import Measurement, SpeedRecord
from dynroute_suite.report.tables import escape_markdown

NOT_YET = "*No measurement of this is committed yet: `make bench` makes one.*"
DTYPES = ("float32", "bfloat16")
Times = dict[str, float]  # ms by subject


def with_part(records: Sequence[SpeedRecord], part: str) -> list[tuple[SpeedRecord, list[Measurement]]]:
    """The records that have measurements of a part, with these."""
    found = ((record, [one for one in record.measurements if one.part == part]) for record in records)
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


def curves(measurements: Sequence[Measurement]) -> dict[str, list[tuple[float, float]]]:
    """Subject → (share of the MACs, share of its own all-open time), by MACs. Subjects without an all-open time have
    none."""
    found: dict[str, list[tuple[float, float]]] = {}
    for subject in dict.fromkeys(one.subject for one in measurements):
        own = sorted((one for one in measurements if one.subject == subject), key=lambda one: one.share)
        if own[-1].share > 1 - 1e-6:
            found[subject] = [(one.share, one.median_ms / own[-1].median_ms) for one in own]
    return found


def curve_table(measurements: Sequence[Measurement]) -> str:
    """A line per subject: at which percentage of the MACs which percentage of its all-open time."""
    lines = [
        [escape_markdown(subject), *(f"{100 * share:.0f}: {100 * time:.0f}" for share, time in points)]
        for subject, points in curves(measurements).items()
    ]
    return markup.table(["% of MACs: % of time", *[""] * (len(lines[0]) - 1)], lines, right=1)


def goals_table(records: Sequence[SpeedRecord]) -> str:
    """Every goal with what came out, met or not."""
    lines = [
        [
            escape_markdown(record.title + (" (short form)" if record.short else "")),
            escape_markdown(goal.text),
            f"{'≥' if goal.higher else '≤'} {goal.wanted:g}",
            f"{goal.measured:.2f}",
            "met" if goal.met else "**not met**",
        ]
        for record in records
        for goal in record.goals
    ]
    return markup.table(["benchmark", "goal", "wanted", "measured", ""], lines, right=2) if lines else NOT_YET


def by_operation(record: SpeedRecord) -> dict[tuple[str, str], Times]:
    """(operation, size of its map) → times, in the record's order."""
    found: dict[tuple[str, str], Times] = {}
    for one in record.measurements:
        found.setdefault((one.part, f"{one.height}×{one.width}"), {})[one.subject] = one.median_ms
    return found


def gain(times: Times, dtype: str) -> float | None:
    """How many times as fast as plain torch in the same dtype; None where it was not measured."""
    plain, compiled = times.get(f"torch {dtype}"), times.get(f"native {dtype}")
    return None if plain is None or compiled is None else plain / compiled


def gain_range(record: SpeedRecord, operation: str, dtype: str) -> str:
    """An operation's least and largest gain over its sizes, as the kernels' README has it."""
    sizes = [times for (part, _), times in by_operation(record).items() if part == operation]
    found = sorted(value for times in sizes if (value := gain(times, dtype)) is not None)
    shown = list(dict.fromkeys(f"{value:.1f}" for value in (found[0], found[-1]))) if found else [NOTHING]
    return "–".join(shown) + "×" * bool(found)


def operations_table(record: SpeedRecord) -> str:
    """Milliseconds of each way through an operation, and the compiled one's gain over plain torch."""
    columns = [f"{way} {dtype}" for dtype in DTYPES for way in ("torch", "native")]
    columns.insert(0, "eager float32")
    lines = []
    for (part, size), times in by_operation(record).items():
        gains = [gain(times, dtype) for dtype in DTYPES]
        cells = [significant(times[name]) if name in times else NOTHING for name in columns]
        lines.append(
            [escape_markdown(part), size, *cells, *(NOTHING if one is None else f"{one:.1f}" for one in gains)]
        )
    header = ["operation", "map", *(f"{name}, ms" for name in columns), *(f"gain, {dtype}" for dtype in DTYPES)]
    return markup.table(header, lines, right=2)
