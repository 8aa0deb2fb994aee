"""The parts of the pages on speed and on the kernels: what the benchmarks left in `results/speed/`.

No figure stands without the machine that it was measured on.
"""

from __future__ import annotations

from collections.abc import Iterable

from dynroute_suite.figures.speed import time_figure
from dynroute_suite.figures.style import figure_block
from dynroute_suite.report import markup
from dynroute_suite.report.numbers import significant
from dynroute_suite.report.results import Results
from dynroute_suite.report.speed_record import Measurement, SpeedRecord
from dynroute_suite.report.speed_tables import (
    NOT_YET,
    curve_table,
    goals_table,
    operations_table,
    times_table,
    where,
    with_part,
)
from dynroute_suite.report.tables import escape_markdown


def goals(results: Results) -> str:
    return goals_table(results.speed)


def all_open(results: Results) -> str:
    return _times(results, "open", "model")


def batch(results: Results) -> str:
    return _times(results, "batch", "model")


def training(results: Results) -> str:
    return _times(results, "published", "plain NCHW float32")


def training_demo(results: Results) -> str:
    return _times(results, "demo", "plain NCHW float32")


def routes(results: Results) -> str:
    """Time against MACs: a figure per record, and its numbers."""
    found = with_part(results.speed, "routes")
    return _each((record, f"{figure_block(time_figure(some))}\n\n{curve_table(some)}") for record, some in found)


def memory(results: Results) -> str:
    return _each((record, _memory_table(some)) for record, some in with_part(results.speed, "memory"))


def loading(results: Results) -> str:
    return _each((record, _loading_table(some)) for record, some in with_part(results.speed, "loading"))


def operations(results: Results) -> str:
    """Every compiled operation beside its ways in plain torch."""
    return _each((record, operations_table(record)) for record in results.speed if record.kind == "operations")


def _times(results: Results, part: str, reference: str) -> str:
    return _each(
        (record, times_table(some, record.machine.peak_gmacs_per_s, reference))
        for record, some in with_part(results.speed, part)
    )


def _each(shown: Iterable[tuple[SpeedRecord, str]]) -> str:
    """Records' texts, each beneath the machine it was measured on."""
    return "\n\n".join(f"{where(record)}\n\n{text}" for record, text in shown) or NOT_YET


def _memory_table(some: list[Measurement]) -> str:
    lines = [
        [escape_markdown(one.subject), f"{one.height}×{one.width}", f"{one.peak_mb:.0f}"]
        for one in some
        if one.peak_mb is not None
    ]
    return markup.table(["subject", "size", "MB beside the weights"], lines, right=1)


def _loading_table(some: list[Measurement]) -> str:
    lines = [
        [escape_markdown(one.subject), f"{one.height}×{one.width}", significant(1e3 * one.items / one.median_ms)]
        for one in some
    ]
    return markup.table(["what", "size", "images a second"], lines, right=1)
