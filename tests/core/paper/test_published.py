"""The published numbers against the rows' bounds: every published cost must be one the row's network can have."""

from __future__ import annotations

import pytest

from dynroute_core.cost import Accounting, cost_table
from dynroute_core.experiments import ROWS
from dynroute_core.published import FROM_IMAGENET, PROTOCOL_HEIGHT, PROTOCOL_WIDTH, PUBLISHED

COSTS: list[tuple[str, Accounting, float]] = [
    (row, accounting, gmacs)
    for row, published in PUBLISHED.items()
    for accounting, gmacs in (("paper", published.paper_gmacs), ("repo", published.release_gmacs))
    if gmacs is not None
]
ROUNDING = 0.05  # the tables print one decimal


def test_every_row_is_there_once() -> None:
    assert set(PUBLISHED) == set(ROWS)


@pytest.mark.parametrize(("row", "accounting", "gmacs"), COSTS)
def test_a_published_cost_lies_within_the_rows_bounds(row: str, accounting: Accounting, gmacs: float) -> None:
    table = cost_table(ROWS[row].model, height=PROTOCOL_HEIGHT, width=PROTOCOL_WIDTH, accounting=accounting)
    assert table.all_closed / 1e9 <= gmacs <= table.all_open / 1e9 + ROUNDING


def test_the_bound_tells_the_accountings_apart() -> None:
    """The paper's figure for Dynamic-Raw is above what the released code's accounting can give."""
    raw = cost_table(ROWS["dynamic-raw"].model, height=PROTOCOL_HEIGHT, width=PROTOCOL_WIDTH, accounting="repo")
    paper = PUBLISHED["dynamic-raw"].paper_gmacs
    assert paper is not None and paper > raw.all_open / 1e9 + ROUNDING


def test_every_number_has_a_source_and_a_hearsay_is_no_number() -> None:
    for published in PUBLISHED.values():
        assert (published.paper_miou_percent is None) == (published.paper_gmacs is None) == (not published.paper_source)
        assert (published.release_miou_percent is None) == (not published.release_source)
    fixed = PUBLISHED["network-fix"]
    assert fixed.release_miou_percent is None
    assert "77.28" in fixed.note


def test_rows_from_imagenet_are_those_that_need_weights() -> None:
    assert set(FROM_IMAGENET) == {row for row, chosen in ROWS.items() if chosen.train.needs_weights}
