"""What the book's page on the kernels includes: each compiled operation beside its ways in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dynroute_suite.book.pages.speed import NOT_YET, records, where
from dynroute_suite.report import markup
from dynroute_suite.report.numbers import NOTHING, significant
from dynroute_suite.report.speed_record import SpeedRecord
from dynroute_suite.report.tables import escape_markdown

DTYPES = ("float32", "bfloat16")
Times = dict[str, float]  # ms by subject


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


def operations() -> str:
    """A table per record: milliseconds of each way, and the compiled one's gain over plain torch."""
    shown = []
    for record in records():
        if record.kind != "operations":
            continue
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
        shown.append(f"{where(record)}\n\n{markup.table(header, lines, right=2)}")
    return "\n\n".join(shown) or NOT_YET


FRAGMENTS: Mapping[str, Callable[[], str]] = {"kernels_operations": operations}
