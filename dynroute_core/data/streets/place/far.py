"""The far kind of scene: many small things, none nearer than some thirteen metres, none so far that it is a dot."""

from __future__ import annotations

from functools import partial

from dynroute_core.data.streets.paint.people import paint_person
from dynroute_core.data.streets.place.pavements import pavement, place_furniture
from dynroute_core.data.streets.place.stage import Stage
from dynroute_core.data.streets.place.traffic import LENGTHS, place_cross_traffic, place_cycle, place_vehicle

_VEHICLES = (("car", 9.0), ("bus", 0.8), ("truck", 1.0), ("trailer", 0.2), ("caravan", 0.2))
_LAST_VEHICLE, _LAST_PERSON = 62.0, 40.0
"""In metres: there a car is 13 pixels wide in a picture of 512, a person 19 high."""


def place_far(stage: Stage) -> None:
    """Traffic in every lane, rows of parked cars, people and cycles on both pavements and on the road."""
    _place_lanes(stage)
    place_cross_traffic(stage)
    for sign, on in zip((-1, 1), stage.plan.parked, strict=True):
        if on:
            _place_parked_row(stage, sign)
    _place_riders(stage)
    _place_walkers(stage)
    _place_standing_cycles(stage)
    place_furniture(stage)


def _place_lanes(stage: Stage) -> None:
    plan, dice = stage.plan, stage.dice
    for x, direction in plan.lanes:
        z = stage.clear + dice.uniform(0.0, 10.0)
        while z < _LAST_VEHICLE:
            kind = dice.weighted(_VEHICLES)
            if not stage.on_crossing(z, 1.0):
                place_vehicle(stage, kind, x + dice.uniform(-0.3, 0.3), z + LENGTHS[kind] / 2, (0.0, float(direction)))
            z += LENGTHS[kind] + dice.uniform(3.0, 16.0)
    for x in plan.road.rails:
        z = stage.clear + dice.uniform(2.0, 20.0) + LENGTHS["train"] / 2
        place_vehicle(stage, "train", x, z, (0.0, dice.pick((-1.0, 1.0))))


def _place_parked_row(stage: Stage, sign: int) -> None:
    dice = stage.dice
    x, z = sign * (stage.plan.road.side(sign).kerb - 1.05), stage.clear + dice.uniform(0.0, 4.0)
    while z < _LAST_VEHICLE:
        if dice.chance(0.75) and not stage.on_crossing(z + 2, 3.5):
            place_vehicle(stage, "car", x + dice.uniform(-0.1, 0.1), z + LENGTHS["car"] / 2, (0.0, float(sign)))
        z += dice.uniform(5.4, 7.0)


def _place_riders(stage: Stage) -> None:
    plan, dice = stage.plan, stage.dice
    for _ in range(dice.between(3, 6)):
        x = dice.uniform(0.3 - plan.road.left.kerb, plan.road.right.kerb - 0.3)
        z = dice.uniform(stage.clear, _LAST_PERSON)
        if stage.free(x, z, 0.5, 0.9):
            place_cycle(stage, x, z, 0.0, dice.uniform(0.2, 0.9), dice.chance(0.42), True)


def _place_walkers(stage: Stage) -> None:
    plan, dice = stage.plan, stage.dice
    for _ in range(dice.between(8, 16)):
        x, base = pavement(stage, dice.pick((-1, 1)))
        z = dice.uniform(stage.clear, _LAST_PERSON)
        for _ in range(1 + dice.chance(0.3)):
            if stage.free(x, z, 0.35, 0.35) and not stage.on_crossing(z, 0.5):
                stage.put(z, partial(paint_person, x=x, z=z, base=base))
            z += dice.uniform(0.8, 1.6)
    for _ in range(dice.between(1, 4)):
        x, z = dice.uniform(-plan.road.left.kerb, plan.road.right.kerb), dice.uniform(stage.clear, _LAST_PERSON)
        if stage.free(x, z, 0.35, 0.35):
            stage.put(z, partial(paint_person, x=x, z=z, base=0.0))


def _place_standing_cycles(stage: Stage) -> None:
    dice = stage.dice
    for _ in range(dice.between(2, 6)):
        x, base = pavement(stage, dice.pick((-1, 1)))
        z = dice.uniform(stage.clear, _LAST_PERSON)
        if stage.free(x, z, 0.5, 0.4):
            place_cycle(stage, x, z, base, dice.uniform(0.4, 1.0), dice.chance(0.4), False)
