"""Weights and routes that the command line gives, as settings of the row they are for.

Takes `--weights`, `--init`, `--route` and `--route-factors`; gives experiments that carry them, and the same as text
for the row's notebook. Files are read and checked here, so that a wrong one is refused before any work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import msgspec

from dynroute_core.cell import RouteFactors
from dynroute_core.checkpoint import MisfitError
from dynroute_core.evaluate import ForcedPaths
from dynroute_core.experiments import Experiment
from dynroute_core.model import Segmenter
from dynroute_core.route_files import find_route
from dynroute_core.runtime import BlockedError, UsageError, suggest
from dynroute_core.space import RoutingSpace, path_name
from dynroute_core.weights import Weights, give_weights, save_weights

CONVERTED = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was asked for; "" for what was not. route_factors "": as the library has it."""

    weights: str = ""
    init: str = ""
    route: str = ""
    route_factors: str = ""

    def __post_init__(self) -> None:
        if self.weights and self.init:
            raise UsageError("give --weights (evaluate, train nothing) or --init (train from), not both.")
        if self.route_factors and not self.route:
            raise UsageError("--route-factors belongs to --route: name the route too.")
        if self.route_factors and self.route_factors not in get_args(RouteFactors):
            raise suggest("--route-factors", self.route_factors, get_args(RouteFactors))


def with_given(chosen: Experiment, given: Given) -> Experiment:
    """The experiment with the weights and the route that were given.

    Raises BlockedError for a file that is missing, refused, or of another network; UsageError for a route that the
    row's network does not have.
    """
    if file := given.weights or given.init:
        path = Path(file).expanduser().resolve()
        use = "evaluate" if given.weights else "start"
        chosen = replace(chosen, weights=Weights(file=str(path), use=use))  # type: ignore[arg-type]  # a literal
        if chosen.common is None:  # else its paths, and so its tensors, are known only when it runs
            fitted(chosen)
    if given.route:
        route = find_route(given.route, RoutingSpace.of(chosen.model))
        space = RoutingSpace.of(chosen.model)
        paths = tuple(path_name(path) for path in space.all_paths if path in route)
        forced = ForcedPaths(name=_route_name(given.route), paths=paths)
        if given.route_factors:
            forced = replace(forced, factors=given.route_factors)  # type: ignore[arg-type]  # checked in Given
        if forced.factors == "gate" and chosen.model.gate == "none":
            raise UsageError(f"--route-factors gate: {chosen.row} has no gates. Give one, or another row.")
        chosen = replace(chosen, evaluate=replace(chosen.evaluate, route=forced))
    return chosen


def _route_name(text: str) -> str:
    """As it was asked for; of a file its name, not where it lies."""
    before, mark, image = text.partition("#")
    return Path(before).name + mark + image


def fitted(chosen: Experiment) -> tuple[Segmenter, str]:
    """The row's network with its given weights, and what came from the file in words. Raises BlockedError."""
    assert chosen.weights is not None
    model = Segmenter(chosen.model)
    try:
        return model, give_weights(model, Path(chosen.weights.file), use=chosen.weights.use)
    except MisfitError as error:
        raise BlockedError(
            f"{error} {chosen.row} at the {chosen.profile} profile has {chosen.model.layers} layers, "
            f"{chosen.model.channels} channels and {chosen.model.classes} classes. Released weights need --profile "
            "full; weights of a run need that run's --profile, --data and --set."
        ) from error


def convert(chosen: Experiment, target: Path) -> str:
    """Writes the given weights, once they fit the row, as plain safetensors by our names; says in words what is in it.

    From `--init` come the backbone and, where it is whole, the head. Raises UsageError where no weights were given or
    the name does not end in .safetensors.
    """
    if chosen.weights is None or target.suffix != CONVERTED:
        raise UsageError(f"--convert {target}: give a name ending in {CONVERTED}, and --weights or --init FILE.")
    model, what = fitted(chosen)
    save_weights(target, model, head="alone" not in what)
    return f"{what}, {target.stat().st_size / 2**20:.1f} MB by our names"


def as_settings(chosen: Experiment) -> dict[str, str]:
    """What `with_given` added, as settings that `with_settings` reads."""
    parts = {"weights": chosen.weights, "evaluate.route": chosen.evaluate.route}
    return {name: msgspec.json.encode(part).decode() for name, part in parts.items() if part is not None}
