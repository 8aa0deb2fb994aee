"""Gates in pictures and numbers: counted again here."""

from __future__ import annotations

import numpy as np
import pytest

from dynroute_core.cost import cost_table
from dynroute_core.space import ModelConfig
from dynroute_suite.figures.gates import (
    activation_figure,
    factor_figure,
    gate_cost_table,
    recorded_factor_figures,
    recorded_factors,
)
from dynroute_suite.report.numbers import gmacs, share_text
from dynroute_suite.report.results import Results
from dynroute_suite.report.routed_runs import RoutedRun
from support.markdown_tables import column


def test_gate_costs_are_the_accountings_own() -> None:
    lines = gate_cost_table(ModelConfig(), height=1024, width=2048)
    for kind, gates, opened in zip(column(lines, 0), column(lines, 1), column(lines, 3), strict=True):
        table = cost_table(ModelConfig(gate=kind), height=1024, width=2048, accounting="paper")  # type: ignore[arg-type]
        assert (gates, opened) == (gmacs(sum(table.gates.values())), gmacs(table.all_open))


def test_factor_figures_tell_shares_and_medians() -> None:
    values = np.array([0.0, 0.0, 0.0, 0.5, 0.7, 0.9])
    picture = factor_figure({"some": values, "shut": np.zeros(4)}, title="Factors")
    assert "some: 50 % closed, median factor of open paths 0.70" in picture.alt
    assert "shut: 100 % closed, median factor of open paths none" in picture.alt
    assert picture == factor_figure({"some": values, "shut": np.zeros(4)}, title="Factors")
    assert "factor 0.905, slope 0.181" in activation_figure().alt  # tanh 1.5, 1 − tanh² 1.5
    with pytest.raises(ValueError, match="no factors to draw"):
        factor_figure({}, title="Factors")


def test_factors_of_a_rows_seeds_are_counted_together_and_other_images_apart() -> None:
    routed = Results().routed
    runs: dict[tuple[str, str], list[RoutedRun]] = {}
    for run in routed:
        told = f"Factors after training: {run.record.profile} profile, {run.record.data.name}"
        runs.setdefault((told, run.record.row), []).append(run)
    assert max(map(len, runs.values())) > 1
    figures = {figure.alt.split(".")[0]: figure.alt for figure in recorded_factor_figures(routed)}
    for (told, row), alike in runs.items():
        closed = float((np.concatenate([recorded_factors(run) for run in alike]) == 0).mean())
        assert f" {row}: {share_text(closed)} closed" in figures[told]
