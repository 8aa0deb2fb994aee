"""Putting a street scene together: what stands where, and the order it is painted in.

Everything is placed in metres along the road, sorted by distance and painted from far to near, first what
lines the street, then what stands on it. Leaves out how each thing looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dynroute_core.data.streets.canvas import GLASS, SMOOTH, Canvas, Colour, Point, scaled
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.finish import finish
from dynroute_core.data.streets.layout import Kind
from dynroute_core.data.streets.outlines import Outline
from dynroute_core.data.streets.paint.ground import haze_ground, paint_ground, paint_markings, paint_sky, paint_skyline
from dynroute_core.data.streets.place.close_up import place_close_up
from dynroute_core.data.streets.place.far import place_far
from dynroute_core.data.streets.place.frontage import cast_shadows, place_frontage
from dynroute_core.data.streets.place.near import place_near
from dynroute_core.data.streets.place.pavements import place_furniture, place_people
from dynroute_core.data.streets.place.stage import Stage
from dynroute_core.data.streets.place.traffic import place_parked, place_parked_cycles, place_riders, place_traffic
from dynroute_core.data.streets.plan import ScenePlan, make_plan


@dataclass(frozen=True)
class Scene:
    """A rendered scene.

    image: H×W×3 uint8 BGR; label_ids: H×W uint8, Cityscapes label ids; instance_ids: H×W uint16,
    label id × 1000 + number for classes with instances, else the label id; polygons: as in Cityscapes' files, in
    painting order (later ones cover earlier ones), pixel coordinates inside the picture.
    """

    image: npt.NDArray[np.uint8]
    label_ids: npt.NDArray[np.uint8]
    instance_ids: npt.NDArray[np.uint16]
    polygons: list[Outline]


def render(seed: int, index: int, height: int, width: int, kind: Kind = "ordinary") -> Scene:
    """Scene number `index` of the series `seed` and the kind at the given size in pixels."""
    dice = Dice(seed, index, *_KEYS[kind])
    plan = make_plan(height, width, dice.child(), kind)
    canvas = Canvas(height, width, plan.camera, plan.light)
    stage = Stage(plan, dice.child(), _clear(plan))
    fronts = place_frontage(stage)
    _PLACERS[kind](stage)
    paint_sky(canvas, plan.clouds, dice.child())
    paint_ground(canvas, plan.road, plan.base)
    paint_markings(canvas, plan.road, dice.child())
    cast_shadows(canvas, fronts)
    haze_ground(canvas)
    paint_skyline(canvas, 0.3 if plan.style in ("country", "suburb") else 0.7, dice.child())
    stage.paint(canvas)
    if kind != "far":  # whose camera is on no car
        paint_own_car(canvas, dice.child())
    sides = (plan.road.left.front, plan.road.right.front)
    image = finish(canvas, plan.lens, sides, dice.child())
    return Scene(image, canvas.label_ids, canvas.instance_ids, canvas.polygons)


def _clear(plan: ScenePlan) -> float:
    """The distance in metres before which nothing is placed at random."""
    if plan.kind == "ordinary":
        return {"normal": 1.5, "open": 16.0, "close": 6.0}[plan.drama]
    return {"near": 3.0, "far": 13.0}[plan.kind]


def _place_ordinary(stage: Stage) -> None:
    if stage.plan.drama == "close":
        place_close_up(stage)
    place_parked(stage)
    place_traffic(stage)
    place_riders(stage)
    place_furniture(stage)
    place_people(stage)
    place_parked_cycles(stage)


_PLACERS: Mapping[Kind, Callable[[Stage], None]] = {
    "ordinary": _place_ordinary,
    "near": place_near,
    "far": place_far,
}
_KEYS: Mapping[Kind, tuple[int, ...]] = {"ordinary": (), "near": (1,), "far": (2,)}


def paint_own_car(canvas: Canvas, dice: Dice) -> None:
    """The bonnet of the camera's own car, and a rim outside the region of interest, in some pictures."""
    wide, tall = 2.0 * canvas.width, 2.0 * canvas.height
    if dice.chance(0.45):
        rise, shift = tall * dice.uniform(0.04, 0.12), wide * dice.uniform(-0.1, 0.1)
        paint: Colour = scaled(canvas.light.sky_low, dice.uniform(0.12, 0.5))
        shape: list[Point] = [(0.0, tall)]
        for k in range(17):
            part = (k - 8) / 8
            shape.append((wide * k / 16 + shift * (1 - part * part), tall - rise * (1 - 0.75 * part * part)))
        shape.append((wide, tall))
        with canvas.thing("ego vehicle"):
            canvas.fill(shape, paint, GLASS)
            low = [(u, v + (tall - v) * 0.3) for u, v in shape]
            canvas.fill(low, scaled(paint, 0.72), GLASS, inside=True)
    if dice.chance(0.3):
        rim = max(2.0, 2.0 * int(canvas.width * dice.uniform(0.003, 0.01)))
        for u0, u1 in ((0.0, rim), (wide - rim, wide)):
            with canvas.thing("out of roi"):
                canvas.fill([(u0, 0), (u1 - 1, 0), (u1 - 1, tall), (u0, tall)], (8, 8, 8), SMOOTH)
