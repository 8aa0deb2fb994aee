"""A finished run whose network has gates, with its routes: what the pages on routes are made of."""

from __future__ import annotations

from dataclasses import dataclass

from dynroute_core.runs.record import ROUTES, Routes, read_routes
from dynroute_core.space import ModelConfig
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.flow import config_of

NO_RUNS = "No record of a network with gates is committed yet."


@dataclass(frozen=True)
class RoutedRun(Committed):
    """A finished run and the routes of its images."""

    routes: Routes

    @classmethod
    def of(cls, one: Committed) -> RoutedRun:
        """A finished run with its routes. Raises BlockedError where they cannot be read."""
        return cls(one.folder, one.record, read_routes(one.folder / ROUTES))

    @property
    def config(self) -> ModelConfig:
        return config_of(self.record)


def has_routes(one: Committed) -> bool:
    """Whether a run has gates and recorded their routes; networks without gates take one route for every image."""
    return config_of(one.record).gate != "none" and (one.folder / ROUTES).exists()
