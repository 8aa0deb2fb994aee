"""Runs for the tests of the pages on routes, written as a results folder."""

from __future__ import annotations

from pathlib import Path

from dynroute_core.runs.record import RECORD, ROUTES, Record, write_record
from dynroute_core.space import ModelConfig
from dynroute_core.system.strict_json import to_json
from dynroute_suite.report.flow import config_of
from dynroute_suite.report.results import Results
from dynroute_suite.report.routed_runs import RoutedRun
from support.sample_records import sample_record, sample_routes

SMALL = ModelConfig(layers=4, channels=4, gate="small")
FULL = ModelConfig(layers=5, channels=4, gate="full")
FIXED = ModelConfig(layers=3, channels=4, gate="none")


def sample_runs(folder: Path) -> tuple[RoutedRun, ...]:
    """Writes three runs below `folder`: two of networks with gates (open, closed and dead cells among them), which it
    gives, and one without."""
    for row, config, bias in (("dynamic-a", SMALL, -0.6), ("dynamic-c", FULL, 0.0), ("network-fix", FIXED, 0.0)):
        place = folder / row / "demo-streets-seed0"
        place.mkdir(parents=True)
        (place / ROUTES).write_bytes(to_json(sample_routes(config, row=row, bias=bias)))
        write_record(place / RECORD, sample_record(config, row=row, bias=bias))
    return Results(folder).routed


def write_run(results: Path, record: Record, *, routes: bool = False) -> None:
    """Writes a record where a results folder has it; its routes beside it where asked for."""
    folder = results / record.row / f"{record.profile}-{record.data.name}-seed{record.seed}"
    write_record(folder / RECORD, record)
    if routes:
        (folder / ROUTES).write_bytes(to_json(sample_routes(config_of(record), row=record.row)))
