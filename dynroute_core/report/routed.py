"""The committed records: every finished run under `results/`, with its routes. Read once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import dynroute_core
from dynroute_core.record import RECORD, ROUTES, Record, Routes, read_record, read_routes
from dynroute_core.report.flow import config_of
from dynroute_core.space import ModelConfig

RESULTS = Path(dynroute_core.__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Run:
    """A finished run. identity: its folder below `results/`, such as `dynamic-a/demo-camvid-seed0`."""

    identity: str
    folder: Path
    record: Record
    routes: Routes

    @property
    def config(self) -> ModelConfig:
        return config_of(self.record)


@lru_cache(maxsize=4)
def committed_runs(results: Path = RESULTS) -> tuple[Run, ...]:
    """Every run with a record and routes, by identity. Raises BlockedError for files that cannot be read."""
    return tuple(
        Run(folder.relative_to(results).as_posix(), folder, read_record(folder / RECORD), read_routes(folder / ROUTES))
        for folder in sorted(path.parent for path in results.glob(f"*/*/{RECORD}"))
        if (folder / ROUTES).exists()
    )


def routed_runs(results: Path = RESULTS) -> tuple[Run, ...]:
    """The runs whose networks have gates: those of fixed networks have one route for every image."""
    return tuple(run for run in committed_runs(results) if run.config.gate != "none")
