"""Which buildings, walls, fences, hedges and trees line both sides of a street."""

from __future__ import annotations

from functools import partial

from dynroute_core.data.streets.canvas import NEAR, Canvas, Point
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.paint.barriers import paint_fence, paint_guard_rail, paint_hedge, paint_wall
from dynroute_core.data.streets.paint.buildings import paint_building
from dynroute_core.data.streets.paint.fronts import Front
from dynroute_core.data.streets.paint.furniture import paint_bush, paint_tree
from dynroute_core.data.streets.place.stage import Painter, Stage

_REACH = 150.0

_KINDS = {
    "avenue": (("building", 9.0), ("gap", 1.2), ("fence", 0.5), ("wall", 0.4), ("hedge", 0.5)),
    "street": (("building", 9.0), ("gap", 0.7), ("fence", 0.6), ("wall", 0.6), ("hedge", 0.4)),
    "lane": (("building", 8.0), ("wall", 1.2), ("fence", 0.6), ("gap", 0.4)),
    "suburb": (("fence", 3.0), ("hedge", 2.5), ("wall", 1.4), ("house", 2.5), ("gap", 2.0)),
    "country": (("gap", 5.0), ("rail", 2.0), ("fence", 1.5), ("hedge", 1.2), ("wall", 0.9), ("house", 0.6)),
    "tram": (("building", 7.0), ("gap", 1.6), ("fence", 1.0), ("wall", 0.6), ("hedge", 0.8)),
}
_LOW = {"fence": (1.0, 2.1), "wall": (1.0, 3.0), "hedge": (1.0, 2.4), "rail": (0.8, 0.8)}


def front_painter(front: Front) -> Painter:
    """The painter of an item of frontage, by its kind."""
    painter = {
        "building": paint_building, "house": paint_building, "wall": paint_wall, "fence": paint_fence,
        "hedge": paint_hedge, "rail": paint_guard_rail,
    }[front.kind]  # fmt: skip
    return partial(painter, front=front)


def _put(stage: Stage, front: Front) -> None:
    if front.z1 > NEAR + 0.1:
        stage.put(max(front.z0, 0.0), front_painter(front), behind=True)


def _tall(style: str, dice: Dice) -> float:
    low, high = {"avenue": (11.0, 28.0), "street": (8.0, 20.0), "lane": (6.0, 14.0), "tram": (9.0, 24.0)}.get(
        style, (4.0, 7.5)
    )
    return dice.uniform(low, high)


def _behind_low(stage: Stage, sign: int, x: float, z0: float, z1: float) -> None:
    """Houses and trees behind a fence, wall, hedge or in a gap."""
    dice, style = stage.dice, stage.plan.style
    back = x + sign * dice.uniform(3.5, 9.0)
    if z1 - z0 > 6 and dice.chance(0.25 if style == "country" else 0.6):
        tall = _tall("suburb" if dice.chance(0.6) else style, dice)
        _put(
            stage,
            Front("house" if tall < 9 else "building", back, z0 + 0.8, z1 - 0.8, tall, dice.uniform(7, 12)),
        )
    for _ in range(dice.between(0, 3)):
        z, tree_x = dice.uniform(z0, z1), x + sign * dice.uniform(1.2, 3.2)
        if z > 3:
            tall = dice.uniform(4, 10)
            stage.put(z, partial(paint_tree, x=tree_x, z=z, base=0.0, tall=tall), behind=True)
    if dice.chance(0.3):
        z, tree_x = dice.uniform(z0, z1), x + sign * dice.uniform(0.5, 2.0)
        if z > 3:
            stage.put(z, partial(paint_bush, x=tree_x, z=z, base=0.0), behind=True)


def place_frontage(stage: Stage) -> list[Front]:
    """Line both sides; returns the tall items, which throw shadows."""
    dice, plan = stage.dice, stage.plan
    tall_items: list[Front] = []
    for sign in (-1, 1):
        side = plan.road.side(sign)
        z = -dice.uniform(0.0, 8.0)
        setback = 0.0
        while z < _REACH:
            crossing = plan.road.crossing
            length = dice.uniform(7.0, 26.0)
            depth = dice.uniform(9.0, 15.0)
            if crossing is not None and z < crossing[1] and z + length > crossing[0] - 1:
                if z >= crossing[0] - 4:
                    # beyond the corner the crossing street's own row of houses begins
                    z, depth = crossing[1] + dice.uniform(2.5, 5.0), 60.0
                    crossing = None
                else:
                    length = crossing[0] - dice.uniform(2.5, 4.0) - z
            if dice.chance(0.3):
                setback = dice.uniform(0.0, 0.7) if plan.style != "suburb" else dice.uniform(0.0, 2.5)
            front = _item(stage, sign * (side.front + setback), z, max(length, 2.0), depth)
            if front is not None and front.height > 3.6:
                tall_items.append(front)
            z += max(length, 2.0)
    return tall_items


def _item(stage: Stage, x: float, z: float, length: float, depth: float) -> Front | None:
    """One stretch of frontage."""
    dice, style = stage.dice, stage.plan.style
    sign = -1 if x < 0 else 1
    kind = dice.weighted(_KINDS[style])
    if depth > 30 and style not in ("country", "suburb"):
        kind = "building"
    if kind in ("building", "house"):
        tall = _tall(style, dice)
        extra = dice.uniform(2.0, 6.0) * sign if kind == "house" else 0.0
        front = Front(kind, x + extra, z, z + length, tall, depth)
        _put(stage, front)
        return front
    _behind_low(stage, sign, x, z, z + length)
    if kind != "gap":
        low, high = _LOW[kind]
        _put(stage, Front(kind, x, z, z + length, dice.uniform(low, high), 0.4))
    return None


def cast_shadows(canvas: Canvas, fronts: list[Front]) -> None:
    """Darken the ground that lies in the shadow of the buildings on the sun's side."""
    sun = canvas.light.sun
    if canvas.light.sunshine < 0.3:
        return
    patches: list[list[Point]] = []
    for front in fronts:
        # only a building between the sun and the street shades it
        if (sun[0] < 0) != (front.x < 0):
            continue
        z0, z1 = max(front.z0, 1.5), front.z1
        if z1 <= z0:
            continue
        throw = min(front.height / sun[1], 60.0)
        dx, dz = -sun[0] * throw, -sun[2] * throw
        corners = [(front.x, z0), (front.x, z1), (front.x + dx, z1 + dz), (front.x + dx, z0 + dz)]
        patches.append([canvas.camera.project(x, 0.0, max(z, 1.2)) for x, z in corners])
    if patches:
        canvas.darken(patches, 158)
