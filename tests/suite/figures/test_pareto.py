"""The plane of accuracy and cost: unlike things are kept apart."""

from __future__ import annotations

import re
from dataclasses import replace

from dynroute_core.space import ModelConfig
from dynroute_suite.figures.pareto import pareto_figure
from dynroute_suite.report.numbers import percent
from support.pictures import words
from support.sample_records import published_protocol, sample_record


def test_only_like_is_set_beside_like() -> None:
    """The published plane holds a run of ours only by the published protocol; others get a panel of their own."""
    record = sample_record(ModelConfig(layers=4, channels=4, gate="small"))
    demo = pareto_figure([record])
    assert demo.html == pareto_figure([record]).html
    assert "not comparable: demo profile, streets" in words(demo)
    assert "ours in a panel apart" in demo.alt
    better = replace(record.metrics, miou_percent=record.metrics.miou_percent + 2)
    twice = pareto_figure([record, replace(record, seed=1, metrics=better, config={**record.config, "seed": 1})])
    assert f"A {percent(record.metrics.miou_percent + 1)} %" in twice.alt
    assert "(mean of 2 seeds)" in twice.alt
    assert "dots are seeds" in words(twice)
    assert "dots are seeds" not in words(demo)
    alone = pareto_figure([])
    assert "ours" not in words(alone).lower()
    full = pareto_figure([published_protocol(record)])
    assert "ours: A 41.2 %" in full.alt
    assert re.search(r"\b1\b", words(full)), "the axis reaches as far as our cheaper point"
    assert "panel apart" not in full.alt
    for text in ("72.8 % at 44.9", "released 79.4 % at 243.1"):
        assert text in alone.alt
