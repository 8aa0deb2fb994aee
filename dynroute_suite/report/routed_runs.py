"""The finished runs whose networks have gates, with their routes: what the pages on routes are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dynroute_core.runs.record import ROUTES, Record, Routes, read_routes
from dynroute_core.space import ModelConfig
from dynroute_suite.report.flow import config_of
from dynroute_suite.report.results import Committed, committed


@dataclass(frozen=True)
class Run:
    """A finished run. identity: its folder below the results, such as `dynamic-a/demo-camvid-seed0`; address: where the
    book has its record."""

    identity: str
    address: str
    folder: Path
    record: Record
    routes: Routes

    @classmethod
    def of(cls, one: Committed) -> Run:
        """A finished run with its routes. Raises BlockedError where they cannot be read."""
        identity = f"{one.folder.parent.name}/{one.folder.name}"
        return cls(identity, one.address, one.folder, one.record, read_routes(one.folder / ROUTES))

    @property
    def config(self) -> ModelConfig:
        return config_of(self.record)


def routed_runs() -> tuple[Run, ...]:
    """Every finished run with gates and routes, in the order of `committed`; networks without gates take one route for
    every image. Raises BlockedError for files that cannot be read."""
    return tuple(
        Run.of(one) for one in committed() if config_of(one.record).gate != "none" and (one.folder / ROUTES).exists()
    )
