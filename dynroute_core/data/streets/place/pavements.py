"""What stands on the pavements of a street scene, and who walks there."""

from __future__ import annotations

from functools import partial

from dynroute_core.data.streets.paint.furniture import (
    paint_bollard,
    paint_gantry,
    paint_lamp,
    paint_sign,
    paint_static,
    paint_traffic_light,
    paint_tree,
)
from dynroute_core.data.streets.paint.ground import KERB
from dynroute_core.data.streets.paint.people import paint_dynamic, paint_person
from dynroute_core.data.streets.place.stage import Painter, Stage, alike


def _place(stage: Stage, painter: Painter, x: float, z: float, size: float) -> None:
    """Add a painter of something `size` metres around (x, z), if there is room."""
    if z > stage.clear and not stage.on_crossing(z, 0.5) and stage.free(x, z, size, size):
        stage.put(z, painter)


def place_furniture(stage: Stage) -> None:
    """Lamps, signs, lights, trees, bollards and boxes along both pavements."""
    plan, dice = stage.plan, stage.dice
    for sign in (-1, 1):
        side = plan.road.side(sign)
        base = KERB if side.paved else 0.0
        edge = sign * (side.kerb + 0.45)
        _row_of_lamps(stage, sign, edge, base)
        _row_of_trees(stage, sign, base)
        for _ in range(dice.between(0, 3)):
            z = stage.clear + 1 / dice.uniform(1 / 50, 1 / 6)
            _place(stage, partial(paint_sign, x=edge, z=z, base=base), edge, z, 0.3)
        if side.paved and dice.chance(0.3):
            start, look = stage.clear + dice.uniform(2, 20), dice.raw()
            for k in range(dice.between(3, 9)):
                z = start + k * 1.8
                _place(stage, alike(partial(paint_bollard, x=edge, z=z, base=base), look), edge, z, 0.2)
        for _ in range(dice.between(0, 2)):
            x = sign * (side.front - dice.uniform(0.5, 0.9)) if dice.chance(0.6) else edge
            z = stage.clear + 1 / dice.uniform(1 / 40, 1 / 5)
            _place(stage, partial(paint_static, x=x, z=z, base=base), x, z, 0.6)
        _traffic_light(stage, sign, edge, base)
    if plan.style in ("avenue", "country", "tram") and dice.chance(0.25):
        sign, z = dice.pick((-1, 1)), dice.uniform(18, 50)
        x = sign * (plan.road.side(sign).kerb + 0.6)
        stage.put(z, partial(paint_gantry, x=x, z=z, toward=-sign))


def _traffic_light(stage: Stage, sign: int, edge: float, base: float) -> None:
    """Mostly before a crossing, at times for pedestrians elsewhere."""
    dice, crossing = stage.dice, stage.plan.road.crossing
    if crossing is not None:
        z = crossing[0] - 2.2
        if z > 4 and dice.chance(0.75):
            stage.put(z, partial(paint_traffic_light, x=edge, z=z, base=base, toward=-sign))
    elif dice.chance(0.2):
        z = stage.clear + dice.uniform(8, 40)
        painter = partial(paint_traffic_light, x=edge, z=z, base=base, toward=-sign)
        _place(stage, painter, edge, z, 0.3)


def _row_of_lamps(stage: Stage, sign: int, edge: float, base: float) -> None:
    dice = stage.dice
    if not dice.chance(0.75):
        return
    step, z = dice.uniform(16, 32), stage.clear + dice.uniform(2, 16)
    look = dice.raw()
    while z < 110:
        lamp = partial(paint_lamp, x=edge, z=z, base=base, toward=-sign * 1.6)
        _place(stage, alike(lamp, look), edge, z, 0.3)
        z += step


def _row_of_trees(stage: Stage, sign: int, base: float) -> None:
    plan, dice = stage.plan, stage.dice
    side = plan.road.side(sign)
    if plan.style == "lane" or not dice.chance(0.75 if side.strip or plan.style == "country" else 0.5):
        return
    x = sign * (side.kerb + (side.strip / 2 if side.strip else 1.0))
    if plan.style == "country":
        x = sign * (side.front + 1.5)
    step, z = dice.uniform(6, 14), max(stage.clear, 3.0) + dice.uniform(1, 12)
    tall = dice.uniform(4.5, 10)
    while z < 120:
        if dice.chance(0.85):
            height = tall * dice.uniform(0.8, 1.2)
            _place(stage, partial(paint_tree, x=x, z=z, base=base, tall=height), x, z, 0.5)
        z += step * dice.uniform(0.8, 1.3)


def pavement(stage: Stage, sign: int) -> tuple[float, float]:
    """A place for people on the pavement of a side, as x and the ground's height."""
    side = stage.plan.road.side(sign)
    inner = side.kerb + side.strip + 0.3
    return sign * stage.dice.uniform(inner, max(inner + 0.2, side.front - 0.5)), KERB if side.paved else 0.0


def place_people(stage: Stage) -> None:
    """People on the pavements, a few on the road, at times a dog or a pushchair."""
    plan, dice = stage.plan, stage.dice
    crowd = {"avenue": 9, "street": 9, "lane": 6, "suburb": 4, "country": 1, "tram": 10}[plan.style]
    for _ in range(dice.between(0, 1 + int(crowd * plan.busy))):
        x, base = pavement(stage, dice.pick((-1, 1)))
        z = stage.clear + 1 / dice.uniform(1 / 55, 1 / 3.5)
        for _ in range(1 + dice.chance(0.35)):
            _place(stage, partial(paint_person, x=x, z=z, base=base), x, z, 0.3)
            x, z = x + dice.uniform(0.6, 0.8) * dice.pick((-1, 1)), z + dice.uniform(-0.3, 0.5)
    for _ in range(dice.between(0, 2)):
        x = dice.uniform(-plan.road.left.kerb, plan.road.right.kerb)
        z = stage.clear + 1 / dice.uniform(1 / 40, 1 / 8)
        if plan.road.zebra and plan.road.crossing is not None:
            z = plan.road.crossing[0] - dice.uniform(0.2, 1.6)
        if z > stage.clear and stage.free(x, z, 0.35, 0.35):
            stage.put(z, partial(paint_person, x=x, z=z, base=0.0))
    if dice.chance(0.15):
        x, z = plan.road.right.front - 0.8, stage.clear + dice.uniform(4, 20)
        _place(stage, partial(paint_dynamic, x=x, z=z, base=KERB), x, z, 0.4)
