"""The choices that fix a street scene before anything is painted: style, camera, light, cross-section, lens.

Leaves out the objects on the street.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt

from dynroute_core.data.streets.canvas import Camera, Colour, Light, Point3
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.finish import Lens
from dynroute_core.data.streets.layout import Kind
from dynroute_core.data.streets.paint.ground import Road, Side

Lane = tuple[float, int]
"""Middle x of a lane in metres and its direction: 1 with the camera, -1 oncoming."""


@dataclass(frozen=True)
class ScenePlan:
    """A scene's frame. drama, of ordinary scenes: "normal", "open" (nothing near), "close" (something fills the
    picture)."""

    kind: Kind
    style: str
    drama: str
    camera: Camera
    light: Light
    lens: Lens
    road: Road
    lanes: tuple[Lane, ...]
    parked: tuple[bool, bool]
    clouds: float
    base: str
    busy: float


STYLES: Mapping[Kind, tuple[tuple[str, float], ...]] = {
    "ordinary": (("avenue", 2.2), ("street", 3.0), ("lane", 1.4), ("suburb", 2.8), ("country", 1.5), ("tram", 1.4)),
    "near": (("avenue", 0.8), ("street", 3.0), ("lane", 2.2), ("suburb", 2.8), ("country", 1.2), ("tram", 1.6)),
    "far": (("avenue", 3.6), ("street", 2.6), ("suburb", 2.2), ("country", 0.8), ("tram", 2.6)),
}
DRAMAS = (("normal", 4.0), ("open", 2.2), ("close", 3.8))


def _unit(x: float, y: float, z: float) -> Point3:
    size = sqrt(x * x + y * y + z * z)
    return x / size, y / size, z / size


def plan_light(dice: Dice) -> tuple[Light, float, Colour]:
    """The light, the share of clouds and the tint (BGR, 1/256) of a time of day and weather."""
    sun = _unit(dice.pick((-1, 1)) * dice.uniform(0.3, 0.9), dice.uniform(0.5, 0.9), dice.uniform(-0.6, 0.5))
    kind = dice.weighted((("clear", 3.0), ("overcast", 3.0), ("haze", 1.2), ("late", 1.5), ("dusk", 1.0)))
    if kind == "clear":
        sky: tuple[Colour, Colour, Colour] = ((206, 148, 84), (236, 214, 184), (220, 206, 190))
        return (
            Light(*sky, dice.uniform(350, 700), sun, 0.52, 0.60, False),
            dice.uniform(0.0, 0.6),
            (256, 256, 256),
        )
    if kind == "overcast":
        sky = ((206, 200, 194), (228, 226, 222), (214, 212, 208))
        return (
            Light(*sky, dice.uniform(220, 500), sun, 0.14, 0.84, False),
            dice.uniform(0.6, 1.0),
            (258, 254, 248),
        )
    if kind == "haze":
        sky = ((216, 212, 204), (226, 228, 228), (218, 222, 222))
        return Light(*sky, dice.uniform(60, 130), sun, 0.18, 0.82, False), 0.3, (252, 256, 256)
    if kind == "late":
        low = _unit(sun[0], 0.35, sun[2])
        sky = ((190, 150, 110), (170, 206, 240), (172, 196, 218))
        return (
            Light(*sky, dice.uniform(250, 500), low, 0.62, 0.54, False),
            dice.uniform(0.2, 0.7),
            (232, 254, 272),
        )
    sky = ((124, 92, 66), (140, 142, 170), (120, 112, 116))
    return Light(*sky, dice.uniform(200, 400), sun, 0.08, 0.58, True), dice.uniform(0.2, 0.8), (268, 250, 244)


def plan_camera(height: int, width: int, style: str, dice: Dice) -> Camera:
    """A car's camera; lengths in canvas pixels, so twice the picture's."""
    focal = 2 * max(width, 1.4 * height) * dice.uniform(0.62, 1.1)
    centre = 2 * width * (0.5 + dice.uniform(-0.14, 0.14))
    horizon = 2 * height * dice.uniform(0.36, 0.53)
    above = dice.uniform(1.9, 2.6) if dice.chance(0.12) else dice.uniform(1.15, 1.6)
    bend = 0.0 if style == "lane" or dice.chance(0.4) else dice.uniform(-0.0007, 0.0007)
    return Camera(focal, centre, horizon, above, bend)


def _side(style: str, kerb: float, dice: Dice) -> Side:
    if style == "country":
        return Side(kerb, 0.0, "grass", kerb + dice.uniform(1.5, 6.0), dice.chance(0.25))
    walk = {
        "avenue": (3.0, 6.0),
        "street": (1.8, 3.6),
        "lane": (0.9, 1.8),
        "suburb": (1.5, 2.6),
        "tram": (2.4, 4.5),
    }[style]
    strip, kind = 0.0, "grass"
    if dice.chance({"avenue": 0.5, "street": 0.15, "lane": 0.0, "suburb": 0.6, "tram": 0.3}[style]):
        strip = dice.uniform(1.0, 2.6)
        kind = "parking" if style != "suburb" and dice.chance(0.35) else "grass"
    return Side(kerb, strip, kind, kerb + strip + dice.uniform(*walk), True)


def _lanes(style: str, lane: float, dice: Dice) -> tuple[list[Lane], float, float]:
    """Lanes, left edge and right edge (both positive) of the carriageway; the camera drives at x = 0."""
    if style == "lane":
        left = dice.uniform(1.6, 2.4)
        return [(0.0, 1)], left, dice.uniform(1.6, 2.2)
    with_us = dice.between(2, 3) if style == "avenue" else 1
    against = dice.between(1, 3) if style == "avenue" else 1
    right_of_us = dice.below(with_us)
    lanes: list[Lane] = [((right_of_us - k) * lane, 1) for k in range(with_us)]
    leftmost = (right_of_us - with_us + 1) * lane
    median = 3.2 if style == "tram" else 0.0
    lanes += [(leftmost - median - (k + 1) * lane, -1) for k in range(against)]
    return lanes, -(leftmost - median - against * lane) + lane / 2, right_of_us * lane + lane / 2


def plan_road(style: str, drama: str, dice: Dice) -> tuple[Road, tuple[Lane, ...], tuple[bool, bool]]:
    """Cross-section, lanes and whether cars are parked on the left and on the right."""
    width = dice.uniform(2.9, 3.6)
    lanes, left, right = _lanes(style, width, dice)
    chance = {"avenue": 0.35, "street": 0.65, "lane": 0.35, "suburb": 0.55, "country": 0.05, "tram": 0.3}[style]
    parked = (dice.chance(chance), dice.chance(chance))
    extra = 1.2 if style == "lane" else 2.1
    lines: list[tuple[float, str]] = []
    marked = style not in ("lane",) and dice.chance(0.85)
    if marked:
        edges = sorted({round(x - width / 2, 4) for x, _ in lanes} | {round(x + width / 2, 4) for x, _ in lanes})
        for x in edges[1:-1]:
            lines.append((x, dice.pick(("dash", "dash", "solid"))))
        if style in ("avenue", "country") or dice.chance(0.2):
            lines += [(edges[0] + 0.25, "solid"), (edges[-1] - 0.25, "solid")]
        for on, x in zip(parked, (-left, right), strict=True):
            if on and dice.chance(0.5):
                lines.append((x, "short"))
    left, right = left + extra * parked[0], right + extra * parked[1]
    rails: tuple[float, ...] = ()
    if style == "tram":
        rails = (-width / 2 - 1.6,)
    crossing = None
    if style != "country" and dice.chance(0.45):
        start = dice.uniform(9, 40)
        crossing = (start, start + dice.uniform(7, 12))
    grey = dice.between(66, 122)
    asphalt = (grey + dice.between(-2, 6), grey, grey - dice.between(0, 4))
    slab = dice.between(112, 168)
    paving = (slab - dice.between(0, 14), slab, slab + dice.between(0, 14))
    grass = dice.pick(((58, 120, 92), (50, 104, 70), (84, 136, 130), (70, 110, 96)))
    line: Colour = (226, 230, 232) if dice.chance(0.85) else (70, 200, 235)
    sides = (_side(style, left, dice), _side(style, right, dice))
    zebra = crossing is not None and dice.chance(0.6)
    road = Road(*sides, tuple(lines), rails, crossing, zebra, asphalt, paving, grass, line)
    return road, tuple(lanes), parked


def plan_lens(tint: Colour, dice: Dice) -> Lens:
    exposure = dice.uniform(0.9, 1.12)
    b, g, r = (int(part * exposure * dice.uniform(0.97, 1.03)) for part in tint)
    return Lens(dice.between(2, 7), int(dice.chance(0.25)), dice.between(4, 24), (b, g, r), dice.between(-6, 6))


def make_plan(height: int, width: int, dice: Dice, kind: Kind) -> ScenePlan:
    """Draw the frame of a scene for a picture of the given size."""
    style, drama = dice.weighted(STYLES[kind]), dice.weighted(DRAMAS)
    camera = plan_camera(height, width, style, dice.child())
    if kind == "far":
        # from a bridge or a mast: at a driver's height the near ones would hide the many behind them
        camera = replace(camera, height=dice.uniform(3.6, 6.0), horizon=2 * height * dice.uniform(0.24, 0.38))
    light, clouds, tint = plan_light(dice.child())
    road, lanes, parked = plan_road(style, drama, dice.child())
    busy = dice.uniform(0.15, 0.5) if drama == "open" else dice.uniform(0.4, 1.0)
    base = "terrain" if style in ("suburb", "country") or dice.chance(0.25) else "sidewalk"
    lens = plan_lens(tint, dice.child())
    return ScenePlan(kind, style, drama, camera, light, lens, road, lanes, parked, clouds, base, busy)
