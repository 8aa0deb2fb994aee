"""The routing space in numbers: they add up to what the accounting says."""

from __future__ import annotations

import pytest

from dynroute_core.cost import cost_table
from dynroute_core.space import ModelConfig
from dynroute_suite.report import space_tables
from dynroute_suite.report.numbers import gmacs
from support.markdown_tables import column


@pytest.mark.parametrize("gate", ["full", "small", "none"])
def test_the_space_tables_add_up_to_all_open(gate: str) -> None:
    config = ModelConfig(gate=gate)  # type: ignore[arg-type]
    table = cost_table(config, height=1024, width=2048, accounting="paper")
    parts = [float(value) for value in column(space_tables.part_table(config), 1)]
    assert parts[-1] == float(gmacs(table.all_open))
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.3)  # six numbers of one decimal or three digits
    scales = [float(value) for value in column(space_tables.scale_table(config), 5)]
    assert sum(scales) == pytest.approx((table.all_open - table.stem - table.head) / 1e9, abs=0.3)


def test_the_number_of_routes_is_told() -> None:
    words = space_tables.size_words(ModelConfig(layers=1, channels=4))
    assert "1 layers hold 3 cells and 4 paths" in words
    assert "2^4 sets of open paths, a number of 2 digits" in words  # 16
