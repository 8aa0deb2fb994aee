"""Vehicles and riders on the road, parked ones beside it."""

from __future__ import annotations

from dynroute_core.data.streets.canvas import Canvas
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.paint.ground import KERB
from dynroute_core.data.streets.paint.riders import paint_bicycle, paint_motorcycle, paint_rider
from dynroute_core.data.streets.paint.solids import Pose
from dynroute_core.data.streets.paint.vehicles import paint_bus, paint_car, paint_trailer, paint_train, paint_truck
from dynroute_core.data.streets.place.stage import Stage

LENGTHS = {"car": 4.6, "bus": 11.5, "truck": 8.5, "train": 27.0, "caravan": 5.2, "trailer": 2.6}
_MIX = (("car", 10.0), ("bus", 0.5), ("truck", 0.7), ("trailer", 0.12), ("caravan", 0.1))


def place_vehicle(stage: Stage, kind: str, x: float, z: float, heading: tuple[float, float]) -> bool:
    """Put a vehicle with its middle at (x, z) if there is room."""
    length = LENGTHS[kind]
    along, across = length / 2, 1.0 if kind == "car" else 1.3
    wide = along * abs(heading[0]) + across * abs(heading[1])
    deep = along * abs(heading[1]) + across * abs(heading[0])
    if not stage.free(x, z, wide + 0.1, deep + 0.4):
        return False
    pose = Pose(x, z, heading)

    def paint(canvas: Canvas, *, dice: Dice) -> None:
        if kind == "car":
            paint_car(canvas, pose, dice)
        elif kind == "bus":
            paint_bus(canvas, pose, length, dice)
        elif kind == "truck":
            paint_truck(canvas, pose, length, dice)
        elif kind == "train":
            paint_train(canvas, pose, 3, dice)
        else:
            paint_trailer(canvas, pose, kind, dice)

    # a long vehicle hides what stands beside its far part, so its near end decides
    beyond = abs(x) > min(stage.plan.road.left.front, stage.plan.road.right.front) + 2
    stage.put(z - deep, paint, behind=beyond)
    return True


def place_cycle(
    stage: Stage, x: float, z: float, base: float, slim: float, motor: bool, ridden: bool, *, advance: float = 0.0
) -> None:
    """A bicycle or motorcycle, with its rider if `ridden`. advance: by how many metres its turn in painting is nearer
    than it stands."""
    flip = stage.dice.chance(0.5)

    def paint(canvas: Canvas, *, dice: Dice) -> None:
        machine = paint_motorcycle if motor else paint_bicycle
        machine(canvas, x, z, base, slim, flip, dice.child())
        if ridden:
            paint_rider(canvas, x, z, base, slim, flip, motor, dice.child())

    stage.put(z - advance, paint)


def place_traffic(stage: Stage) -> None:
    """Vehicles in the lanes, on the rails and in the crossing street."""
    plan, dice = stage.plan, stage.dice
    for x, direction in plan.lanes:
        z = stage.clear + dice.uniform(2.0, 18.0) if x != 0.0 else max(stage.clear, 7.0) + dice.uniform(3, 30)
        while z < 120:
            if dice.chance(0.25 + 0.55 * plan.busy) and not stage.on_crossing(z, 1.0):
                kind = dice.weighted(_MIX)
                place_vehicle(stage, kind, x + dice.uniform(-0.3, 0.3), z + LENGTHS[kind] / 2, (0.0, float(direction)))
                z += LENGTHS[kind]
            z += dice.uniform(4.0, 26.0)
    for x in plan.road.rails:
        if dice.chance(0.75):
            z = max(stage.clear, 6.0) + dice.uniform(0.0, 30.0) + LENGTHS["train"] / 2
            place_vehicle(stage, "train", x, z, (0.0, -1.0 if dice.chance(0.6) else 1.0))
    place_cross_traffic(stage)


def place_cross_traffic(stage: Stage) -> None:
    """Vehicles in the crossing street, where there is one at a distance."""
    dice, crossing = stage.dice, stage.plan.road.crossing
    if crossing is None or crossing[0] <= stage.clear:
        return
    middle = (crossing[0] + crossing[1]) / 2
    for z, sign in ((middle - 1.8, 1.0), (middle + 1.8, -1.0)):
        for _ in range(dice.below(3)):
            kind = dice.weighted((("car", 8.0), ("bus", 1.0), ("truck", 1.0), ("train", 0.5)))
            place_vehicle(stage, kind, dice.uniform(-22, 22), z, (sign, 0.0))


def place_parked(stage: Stage) -> None:
    """Rows of parked cars at the kerbs."""
    plan, dice = stage.plan, stage.dice
    for sign, on in zip((-1, 1), plan.parked, strict=True):
        if not on:
            continue
        side = plan.road.side(sign)
        x = sign * (side.kerb - (0.75 if plan.style == "lane" else 1.05))
        z = max(stage.clear, 1.5) + dice.uniform(0.0, 6.0)
        density = dice.uniform(0.35, 0.95) * (0.5 + 0.5 * plan.busy)
        while z < 110:
            if dice.chance(density) and not stage.on_crossing(z + 2, 3.5):
                kind = "car" if dice.chance(0.96) else dice.pick(("truck", "caravan", "trailer"))
                away = sign > 0 or dice.chance(0.25)
                place_vehicle(
                    stage,
                    kind,
                    x + dice.uniform(-0.1, 0.1),
                    z + LENGTHS[kind] / 2,
                    (0.0, 1.0 if away else -1.0),
                )
                z += LENGTHS[kind] - 4.6
            z += dice.uniform(5.3, 6.6)


def place_riders(stage: Stage) -> None:
    """Cyclists and motorcyclists near the edges of the road."""
    plan, dice = stage.plan, stage.dice
    for _ in range(dice.between(0, 1 + int(2.9 * plan.busy))):
        sign = dice.pick((-1, 1))
        side = plan.road.side(sign)
        inset = 0.8 + 2.2 * plan.parked[0 if sign < 0 else 1]
        x = sign * max(side.kerb - inset - dice.uniform(0.0, 0.6), 0.5)
        z = stage.clear + 1 / dice.uniform(1 / 45, 1 / 5)
        slim = dice.uniform(0.2, 0.6) if dice.chance(0.7) else dice.uniform(0.7, 1.0)
        if stage.free(x, z, 0.5, 0.9):
            place_cycle(stage, x, z, 0.0, slim, dice.chance(0.42), True)


def place_parked_cycles(stage: Stage) -> None:
    """Bicycles and motorcycles standing on the pavement."""
    plan, dice = stage.plan, stage.dice
    for _ in range(dice.between(0, 3)):
        sign = dice.pick((-1, 1))
        side = plan.road.side(sign)
        if not side.paved:
            continue
        at_kerb = dice.chance(0.5)
        x = sign * (side.kerb + side.strip + 0.45 if at_kerb else side.front - 0.5)
        start, motor = stage.clear + 1 / dice.uniform(1 / 35, 1 / 4), dice.chance(0.3)
        for k in range(dice.between(1, 4)):
            z = start + k * dice.uniform(0.7, 1.9)
            if not stage.on_crossing(z, 1.0) and stage.free(x, z, 0.4, 0.3):
                place_cycle(stage, x, z, KERB, dice.uniform(0.4, 1.0), motor, False)
