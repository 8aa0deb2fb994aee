"""Runs for the tests of the pages on routes, written as a results folder."""

from __future__ import annotations

from pathlib import Path

from dynroute_core.runs.record import RECORD, ROUTES, write_record
from dynroute_core.space import ModelConfig
from dynroute_core.system.strict_json import to_json
from dynroute_suite.report.results import results_in
from dynroute_suite.report.routed_runs import Run, routed_runs
from support.sample_records import sample_record, sample_routes

SMALL = ModelConfig(layers=4, channels=4, gate="small")
FULL = ModelConfig(layers=5, channels=4, gate="full")
FIXED = ModelConfig(layers=3, channels=4, gate="none")


def sample_runs(folder: Path) -> tuple[Run, ...]:
    """Writes three runs below `folder`: two of networks with gates (open, closed and dead cells among them), which it
    gives, and one without."""
    for row, config, bias in (("dynamic-a", SMALL, -0.6), ("dynamic-c", FULL, 0.0), ("network-fix", FIXED, 0.0)):
        place = folder / row / "demo-streets-seed0"
        place.mkdir(parents=True)
        (place / ROUTES).write_bytes(to_json(sample_routes(config, row=row, bias=bias)))
        write_record(place / RECORD, sample_record(config, row=row, bias=bias))
    with results_in(folder):
        return routed_runs()
