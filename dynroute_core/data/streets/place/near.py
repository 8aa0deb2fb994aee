"""The near kind of scene: a few subjects within some ten metres, each large in the picture, and nothing behind them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dynroute_core.data.streets.paint.furniture import paint_sign, paint_traffic_light
from dynroute_core.data.streets.paint.people import paint_person
from dynroute_core.data.streets.place.pavements import place_furniture
from dynroute_core.data.streets.place.stage import Stage
from dynroute_core.data.streets.place.traffic import LENGTHS, place_cycle, place_vehicle

_Subjects = tuple[tuple[Callable[[Stage], None], float], ...]

_VEHICLES = (("car", 3.2), ("bus", 2.0), ("truck", 2.0), ("caravan", 0.4), ("trailer", 0.3))

# Who walks or rides in the picture stands on the camera's side of every flank: in front of a vehicle whose near end,
# which decides its turn in painting, is nearer.
_BEFORE_FLANKS = 4.0


def place_near(stage: Stage) -> None:
    """A few subjects, fewer where one has no room or the picture ends, then what stands still at the kerbs."""
    dice = stage.dice
    dice.weighted(_IN_VIEW)(stage)
    for _ in range(dice.between(2, 4)):
        dice.weighted((*_IN_VIEW, *_ASIDE))(stage)
    place_furniture(stage)


def _in_view(stage: Stage, z: float) -> tuple[float, float]:
    """A place between the fronts at the distance `z` that the picture shows, as x and the ground's height."""
    road = stage.plan.road
    reach = 0.42 * z
    x = stage.dice.uniform(-min(reach, road.left.front - 0.6), min(reach, road.right.front - 0.6))
    return x, road.ground(x)


def _ahead(stage: Stage) -> None:
    """In the camera's own lane."""
    dice = stage.dice
    kind = dice.weighted(_VEHICLES)
    place_vehicle(stage, kind, dice.uniform(-0.6, 0.6), dice.uniform(4.5, 8.0) + LENGTHS[kind] / 2, (0.0, 1.0))


def _beside(stage: Stage) -> None:
    """Oncoming on the left, or overtaken on the right."""
    dice = stage.dice
    kind, sign = dice.weighted(_VEHICLES), -1.0 if dice.chance(0.7) else 1.0
    x, z = sign * dice.uniform(2.5, 3.4), dice.uniform(2.5, 5.5) + LENGTHS[kind] / 2
    place_vehicle(stage, kind, x, z, (0.0, sign))


def _across(stage: Stage) -> None:
    """Turning into the road, seen from its side."""
    dice = stage.dice
    kind = dice.weighted((*_VEHICLES, ("train", 1.0)))
    place_vehicle(stage, kind, dice.uniform(-3.0, 3.0), dice.uniform(7.0, 11.0), (dice.pick((-1.0, 1.0)), 0.0))


def _tram(stage: Stage) -> None:
    """A tram beside the camera's lane."""
    dice = stage.dice
    z = dice.uniform(3.0, 7.0) + LENGTHS["train"] / 2
    place_vehicle(stage, "train", -dice.uniform(2.9, 3.6), z, (0.0, dice.pick((-1.0, 1.0))))


def _walkers(stage: Stage) -> None:
    """One or two people on foot."""
    dice = stage.dice
    z = dice.uniform(3.2, 6.0)
    x, base = _in_view(stage, z)
    for _ in range(1 + dice.chance(0.4)):
        if stage.free(x, z, 0.35, 0.35):
            stage.put(z - _BEFORE_FLANKS, partial(paint_person, x=x, z=z, base=base))
        x, z = x + dice.uniform(0.75, 0.95) * dice.pick((-1, 1)), z + dice.uniform(0.0, 0.6)
        base = stage.plan.road.ground(x)


def _rider(stage: Stage) -> None:
    """A cyclist or motorcyclist."""
    dice = stage.dice
    z = dice.uniform(3.2, 6.0)
    x, base = _in_view(stage, z)
    if stage.free(x, z, 0.9, 0.6):
        slim, motor = dice.uniform(0.3, 1.0), dice.chance(0.45)
        place_cycle(stage, x, z, base, slim, motor, True, advance=_BEFORE_FLANKS)


def _at_kerb(stage: Stage) -> tuple[float, float, float]:
    """A place beside the road, as near as the picture shows it, as x, z and the ground's height."""
    dice = stage.dice
    sign = dice.pick((-1, 1))
    x = sign * (stage.plan.road.side(sign).kerb + 0.45)
    return x, max(3.6, abs(x) / 0.46) * dice.uniform(1.0, 1.2), stage.plan.road.ground(x)


def _standing_cycle(stage: Stage) -> None:
    """A bicycle or motorcycle at the kerb."""
    dice = stage.dice
    x, z, base = _at_kerb(stage)
    if stage.free(x, z, 0.9, 0.4):
        place_cycle(stage, x, z, base, dice.uniform(0.4, 1.0), dice.chance(0.4), False)


def _post(stage: Stage) -> None:
    """A traffic light or a sign at the kerb."""
    x, z, base = _at_kerb(stage)
    if stage.free(x, z, 0.3, 0.3):
        lit = partial(paint_traffic_light, x=x, z=z, base=base, toward=-1 if x > 0 else 1)
        stage.put(z, lit if stage.dice.chance(0.6) else partial(paint_sign, x=x, z=z, base=base))


_IN_VIEW: _Subjects = ((_ahead, 2.4), (_across, 1.8), (_walkers, 2.2), (_rider, 2.0))
_ASIDE: _Subjects = ((_beside, 2.0), (_tram, 1.0), (_standing_cycle, 1.6), (_post, 1.2))
