"""A forced route from the command line: a finished row's weights, evaluated on it in a run of their own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dynroute_core.cell import RouteFactors
from dynroute_core.evaluate import ForcedPaths
from dynroute_core.experiments import Experiment, with_settings
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.plan import RunPlan
from dynroute_core.runs.record import ROUTES
from dynroute_core.runs.route_files import IMAGE_PREFIX, find_route
from dynroute_core.space import ModelConfig, RoutingSpace, path_name
from dynroute_core.system.errors import UsageError
from dynroute_suite.notebook.row import Options


@dataclass(frozen=True)
class RouteChoice:
    """What --route and --route-factors ask for."""

    text: str
    factors: RouteFactors

    def check(self, experiment: Experiment) -> None:
        """Raises UsageError or BlockedError now for what would not do after hours of training."""
        if self.factors == "gate" and experiment.model.gate == "none":
            raise UsageError(f"--route-factors gate: {experiment.row} has no gates. Give one, or another row.")
        later = self.text.startswith(IMAGE_PREFIX) or experiment.common is not None  # known once the row has run
        if not later:
            self._forced_paths(experiment.model, None)

    def evaluation(self, experiment: Experiment, plan: RunPlan, options: Options) -> tuple[Experiment, Options]:
        """The evaluation of a finished run of `experiment` on the route, as an experiment and its options.

        Its plan finds the run's weights. Raises UsageError and BlockedError as `find_route`.
        """
        model = FinishedRun.open(plan.folder, plan.key).experiment.model
        forced = {"evaluate.route": json.dumps(asdict(self._forced_paths(model, plan.folder / ROUTES)))}
        return with_settings(experiment, forced), replace(options, settings=dict(options.settings) | forced)

    def _name(self) -> str:
        """As it was asked for; of a file its name, not where it lies."""
        before, mark, image = self.text.partition("#")
        return Path(before).name + mark + image

    def _forced_paths(self, model: ModelConfig, routes: Path | None) -> ForcedPaths:
        space = RoutingSpace.of(model)
        route = find_route(self.text, space, routes=routes)
        paths = tuple(path_name(path) for path in space.all_paths if path in route)
        return ForcedPaths(name=self._name(), paths=paths, factors=self.factors)
