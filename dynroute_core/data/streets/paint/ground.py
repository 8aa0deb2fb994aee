"""Sky, far skyline, ground, kerbs and road markings of a street scene.

Holds everything that is painted before the first upright object. Leaves out buildings along the street and
all objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dynroute_core.data.streets.canvas import (
    ASPHALT,
    FOLIAGE_FAR,
    GRASS,
    PAVING,
    PLASTER,
    SKY,
    SMOOTH,
    Canvas,
    Colour,
    FixedPolygon,
    Point,
    mix,
    scaled,
)
from dynroute_core.data.streets.dice import TILE, Dice, noise_tile
from dynroute_core.data.streets.finish import stretch

FAR = 170.0
KERB = 0.12
_STATIONS = 16


@dataclass(frozen=True)
class Side:
    """Cross-section of one side of the street; distances from the camera's line in metres, all positive.

    kerb: edge of the carriageway; strip: width of the grass or parking strip behind it (0: none);
    front: the building line; between strip and front lies the pavement.
    """

    kerb: float
    strip: float
    strip_kind: str
    front: float
    paved: bool


@dataclass(frozen=True)
class Road:
    """The carriageway. crossing: near and far z of a crossing street (None: none), lanes: x of lane lines."""

    left: Side
    right: Side
    lane_lines: tuple[tuple[float, str], ...]
    rails: tuple[float, ...]
    crossing: tuple[float, float] | None
    zebra: bool
    asphalt: Colour
    paving: Colour
    grass: Colour
    line: Colour

    def side(self, sign: int) -> Side:
        return self.left if sign < 0 else self.right

    def ground(self, x: float) -> float:
        """The height of the ground at `x`: a paved side lies a kerb above the carriageway."""
        side = self.side(-1 if x < 0 else 1)
        return KERB if side.paved and abs(x) > side.kerb else 0.0


def nearest(canvas: Canvas) -> float:
    """z of the ground at the picture's lower edge, a little before it."""
    camera = canvas.camera
    return max(0.8, 0.85 * camera.focal * camera.height / max(2 * canvas.height - camera.horizon, 1.0))


def _stations(z0: float, z1: float) -> list[float]:
    """Distances from z0 to z1, evenly spread over the picture's rows."""
    return [
        1 / (1 / z0 + (1 / z1 - 1 / z0) * k / (_STATIONS - 1)) if k < _STATIONS - 1 else z1 for k in range(_STATIONS)
    ]


def band(canvas: Canvas, x0: float, x1: float, z0: float, z1: float, y: float = 0.0) -> list[Point]:
    """A strip of ground between x0 and x1 along the road, as canvas points."""
    z0 = max(z0, nearest(canvas))
    if z1 <= z0:
        return []
    stations = _stations(z0, z1)
    project = canvas.camera.project
    return [project(x0, y, z) for z in stations] + [project(x1, y, z) for z in reversed(stations)]


def paint_sky(canvas: Canvas, cover: float, dice: Dice) -> None:
    """Gradient and clouds; `cover` 0..1 is the share of cloud."""
    light, width = canvas.light, 2 * canvas.width
    edge = min(max(int(canvas.camera.horizon) + 2, 1), 2 * canvas.height)
    with canvas.thing("sky"):
        canvas.outline([(0, 0), (width, 0), (width, edge), (0, edge)])
    share = (np.arange(edge, dtype=np.int32) * 256 // edge)[:, None]
    low, top = np.array(light.sky_low, np.int32), np.array(light.sky_top, np.int32)
    column = (top * (256 - share) + low * share) >> 8
    shift, rows, columns = dice.below(TILE), np.arange(72), np.arange(96)
    tile = noise_tile(6 + dice.below(4), (8, 16, 32, 64))
    cells = tile[((rows + shift) % TILE)[:, None], ((columns + shift) % TILE)[None, :]].astype(np.int32)
    opaque = np.clip((cells - 42 + int(96 * cover)) * 6, 0, 235).astype(np.uint8)
    veil = stretch(opaque, edge, width).astype(np.uint16)[:, :, None]
    cloud = np.array(mix(light.sky_low, (250, 250, 250), 0.55), np.uint16)
    base = np.broadcast_to(column[:, None, :].astype(np.uint16), (edge, width, 3))
    canvas.pixels[:edge, :, :3] = (base * (256 - veil) + cloud * veil) >> 8
    canvas.pixels[:edge, :, 3] = SKY


def paint_skyline(canvas: Canvas, urban: float, dice: Dice) -> None:
    """Hazy far trees and houses along the whole horizon."""
    camera, width = canvas.camera, 2 * canvas.width
    unit = camera.focal / FAR
    foot = camera.horizon + unit * camera.height + 1
    for far_away, label in ((True, "building"), (False, "vegetation")):
        place = -dice.uniform(0, 20) * unit
        while place < width:
            span = dice.uniform(8, 26) * unit
            tall = dice.uniform(7, 30) if far_away else dice.uniform(4, 10)
            skip = not dice.chance(urban if far_away else 1.1 - urban * 0.55)
            child = dice.child()
            if not skip:
                with canvas.thing(label):
                    _silhouette(canvas, place, span, foot, tall * unit, far_away, child)
            place += span * (0.9 if far_away else 0.6)


def _silhouette(canvas: Canvas, x: float, span: float, foot: float, tall: float, house: bool, dice: Dice) -> None:
    light = canvas.light
    if house:
        paint = light.tone(dice.pick(FAR_WALLS), FAR, dice.uniform(0.6, 0.85))
        canvas.fill([(x, foot), (x, foot - tall), (x + span, foot - tall), (x + span, foot)], paint, PLASTER)
        for level in range(1, int(tall / (canvas.camera.focal / FAR) / 3.4)):
            y = foot - level * 3.4 * canvas.camera.focal / FAR
            gap = tall * 0.03
            canvas.fill(
                [(x + gap, y), (x + span - gap, y), (x + span - gap, y - gap), (x + gap, y - gap)],
                scaled(paint, 0.88),
            )
        return
    paint = light.tone((60, 96, 78), FAR, dice.uniform(0.55, 0.85))
    crown = [(x - span * 0.1, foot)]
    for k in range(9):
        lift = tall * (0.45 + 0.55 * (1 - abs(k - 4) / 4.6)) * dice.uniform(0.75, 1.1)
        crown.append((x + span * (k / 8), foot - lift))
    crown.append((x + span * 1.1, foot))
    canvas.fill(crown, paint, FOLIAGE_FAR)


FAR_WALLS: tuple[Colour, ...] = ((150, 160, 170), (130, 140, 165), (165, 165, 160), (120, 130, 140))


def _surface(canvas: Canvas, label: str, points: Sequence[Point], colour: Colour, material: int) -> None:
    if points:
        with canvas.thing(label):
            canvas.fill(points, colour, material)


def paint_ground(canvas: Canvas, road: Road, base: str) -> None:
    """Base plane, carriageway, strips, pavements and kerbs. `base` is "terrain" or "sidewalk"."""
    light, width = canvas.light, 2.0 * canvas.width
    shade = light.lambert(0, 1, 0)
    edge, bottom = canvas.camera.horizon + 1, 2.0 * canvas.height
    colour, material = (road.grass, GRASS) if base == "terrain" else (scaled(road.paving, 0.9), PAVING)
    if edge < bottom:
        plane = [(0, edge), (width, edge), (width, bottom), (0, bottom)]
        _surface(canvas, base, plane, scaled(colour, shade), material)
    asphalt, paving = scaled(road.asphalt, shade), scaled(road.paving, shade)
    _surface(canvas, "road", band(canvas, -road.left.kerb, road.right.kerb, 0, FAR), asphalt, ASPHALT)
    for sign in (-1, 1):
        side = road.side(sign)
        edge_x = sign * side.kerb
        inner = sign * (side.kerb + side.strip)
        if side.paved:
            points = band(canvas, inner, sign * (side.front + 0.6), 0, FAR, KERB)
            _surface(canvas, "sidewalk", points, paving, PAVING)
            kerb = band(canvas, edge_x, edge_x, 0, FAR)[:_STATIONS]
            kerb += band(canvas, edge_x, edge_x, 0, FAR, KERB)[_STATIONS:]
            _surface(canvas, "sidewalk", kerb, scaled(paving, 0.72), SMOOTH)
            top = band(canvas, edge_x, edge_x + sign * 0.16, 0, FAR, KERB)
            _surface(canvas, "sidewalk", top, scaled(paving, 1.12), SMOOTH)
        if side.strip > 0:
            points = band(canvas, edge_x + sign * 0.16 * side.paved, inner, 0, FAR, KERB * side.paved)
            if side.strip_kind == "parking":
                _surface(canvas, "parking", points, scaled(mix(asphalt, paving, 0.5), 0.92), PAVING)
            else:
                _surface(canvas, "terrain", points, scaled(road.grass, shade), GRASS)
    if road.crossing is not None:
        _crossing(canvas, road, asphalt)


def _crossing(canvas: Canvas, road: Road, asphalt: Colour) -> None:
    """The crossing street: asphalt over both pavements, out to the sides."""
    assert road.crossing is not None
    z0, z1 = max(road.crossing[0], nearest(canvas)), road.crossing[1]
    if z1 > z0:
        with canvas.thing("road"):
            for sign in (-1, 1):
                kerb = sign * (road.side(sign).kerb - 0.05)
                corner = kerb + sign * 2.0
                # rounded corners: the opening is wider at the kerb
                canvas.face(
                    [
                        (kerb, 0.0, z0 - 2),
                        (corner, 0.0, z0),
                        (sign * 90.0, 0.0, z0),
                        (sign * 90.0, 0.0, z1),
                        (corner, 0.0, z1),
                        (kerb, 0.0, z1 + 2),
                    ],
                    asphalt,
                    ASPHALT,
                )


def _stripes(canvas: Canvas, x: float, half: float, spans: Sequence[tuple[float, float]]) -> list[FixedPolygon]:
    """Painted marks at x from z0 to z1 for each span."""
    low = nearest(canvas)
    kept = [(max(z0, low), z1) for z0, z1 in spans if z1 > low]
    if not kept:
        return []
    ends: npt.NDArray[np.float64] = np.array(kept, np.float64)
    z = ends[:, [0, 0, 1, 1]]
    sides = np.broadcast_to(np.array([x - half, x + half, x + half, x - half]), z.shape)
    return canvas.quads(sides, np.zeros_like(z), z)


def _clear_of(crossing: tuple[float, float] | None, z0: float, z1: float) -> bool:
    return crossing is None or z1 < crossing[0] - 3 or z0 > crossing[1] + 3


def paint_markings(canvas: Canvas, road: Road, dice: Dice) -> None:
    """Lane lines, edge lines, stop lines, zebra stripes, repairs and manholes; all labelled road."""
    shade = canvas.light.lambert(0, 1, 0)
    worn = mix(scaled(road.line, shade), scaled(road.asphalt, shade), dice.uniform(0.05, 0.45))
    with canvas.thing("road"):
        _repairs(canvas, road, shade, dice)
    marks: list[FixedPolygon] = []
    for x, kind in road.lane_lines:
        start = dice.uniform(-6, 0)
        step, mark = {"solid": (4.0, 4.05), "dash": (9.0, 4.0), "short": (4.5, 2.0)}[kind]
        spans = [(start + k * step, start + k * step + mark) for k in range(int(110 / step))]
        spans = [span for span in spans if _clear_of(road.crossing, *span)]
        marks += _stripes(canvas, x, 0.075, spans)
    if road.crossing is not None:
        edge = road.crossing[0] - 2.6
        marks += _stripes(canvas, road.right.kerb / 2 - 0.8, road.right.kerb / 2 + 0.6, [(edge, edge + 0.45)])
        if road.zebra:
            across = -road.left.kerb + 0.4
            while across < road.right.kerb - 0.4:
                marks += _stripes(canvas, across + 0.25, 0.25, [(edge + 0.7, edge + 3.3)])
                across += 1.0
    with canvas.thing("road"):
        for mark_polygon in marks:
            canvas.fill_all([mark_polygon], worn, ASPHALT)
    if road.rails:
        _rails(canvas, road)


def _rails(canvas: Canvas, road: Road) -> None:
    for x in road.rails:
        with canvas.thing("rail track"):
            canvas.fill(band(canvas, x - 1.1, x + 1.1, 0, FAR), scaled(road.asphalt, 0.86), PAVING)
            for offset in (-0.72, 0.72):
                rail = band(canvas, x + offset - 0.05, x + offset + 0.05, 0, FAR)
                canvas.fill(rail, canvas.light.tone((168, 172, 176), 12), SMOOTH)


def _repairs(canvas: Canvas, road: Road, shade: float, dice: Dice) -> None:
    for _ in range(dice.between(0, 5)):
        x, z = dice.uniform(-road.left.kerb, road.right.kerb - 1), dice.uniform(3, 50)
        patch = band(canvas, x, x + dice.uniform(0.4, 1.6), z, z + dice.uniform(1, 12))
        colour = scaled(road.asphalt, shade * dice.uniform(0.8, 1.1))
        if patch:
            canvas.fill(patch, colour, ASPHALT)
    for _ in range(dice.between(0, 3)):
        x, z = dice.uniform(-road.left.kerb + 1, road.right.kerb - 1), dice.uniform(4, 40)
        hole = [(x + 0.34 * a, z + 0.34 * b) for a, b in _ROUND]
        if z > nearest(canvas) + 0.4:
            project = canvas.camera.project
            canvas.fill([project(a, 0.0, b) for a, b in hole], scaled(road.asphalt, shade * 0.62), SMOOTH)


_ROUND = (
    (1.0, 0.0),
    (0.7, 0.7),
    (0.0, 1.0),
    (-0.7, 0.7),
    (-1.0, 0.0),
    (-0.7, -0.7),
    (0.0, -1.0),
    (0.7, -0.7),
)


def haze_ground(canvas: Canvas) -> None:
    """Let the ground fade into the haze, row by row; done before anything stands on it."""
    camera, light = canvas.camera, canvas.light
    first = max(0, int(camera.horizon) + 1)
    rows = np.arange(first, 2 * canvas.height, dtype=np.float64)
    depth = camera.focal * camera.height / np.maximum(rows - camera.horizon, 1.0)
    veil = np.floor(depth / (depth + light.haze_range) * 256).astype(np.uint16)[:, None, None]
    region = canvas.pixels[first:, :, :3]
    # the near rows have next to no haze: leaving them saves most of the work
    rows_hazed = int((veil[:, 0, 0] > 2).sum())
    part = region[:rows_hazed]
    weight = veil[:rows_hazed]
    part[:] = (part * (256 - weight) + np.array(light.haze, np.uint16) * weight) >> 8
