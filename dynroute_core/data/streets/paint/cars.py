"""Cars and vans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynroute_core.data.streets.canvas import GLASS, SMOOTH, Canvas, Colour, mix, scaled
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.paint.solids import (
    PANE,
    Face,
    Local,
    Pose,
    ends,
    flank_panel,
    paint_part,
    prism,
    shadow,
    wheel_discs,
    wheels,
)

PAINTS: tuple[tuple[Colour, float], ...] = (
    ((150, 150, 148), 3), ((92, 92, 90), 3), ((40, 38, 38), 3), ((225, 226, 226), 3), ((150, 96, 50), 2),
    ((52, 44, 160), 2), ((70, 60, 44), 1), ((60, 90, 60), 0.7), ((60, 160, 200), 0.5), ((120, 140, 160), 1),
    ((40, 60, 110), 0.7), ((170, 160, 110), 0.5),
)  # fmt: skip


@dataclass(frozen=True)
class CarShape:
    """Proportions of a car in metres; `nose` and `tail` are how far the cabin stays from the ends."""

    length: float
    width: float
    height: float
    belt: float
    nose: float
    tail: float
    rake: float


CARS: tuple[tuple[CarShape, float], ...] = (
    (CarShape(4.3, 1.78, 1.46, 0.92, 1.05, 0.15, 0.75), 4),
    (CarShape(4.7, 1.82, 1.43, 0.92, 1.25, 0.75, 0.8), 3),
    (CarShape(4.6, 1.80, 1.50, 0.93, 1.2, 0.05, 0.7), 3),
    (CarShape(3.6, 1.62, 1.50, 0.94, 0.75, 0.08, 0.55), 2),
    (CarShape(4.6, 1.90, 1.72, 1.05, 1.15, 0.10, 0.55), 2),
    (CarShape(4.9, 1.92, 1.95, 1.10, 0.75, 0.03, 0.5), 1.3),
    (CarShape(5.4, 1.98, 2.35, 1.15, 0.65, 0.02, 0.45), 0.8),
)


def paint_car(canvas: Canvas, pose: Pose, dice: Dice) -> None:
    """A car or van."""
    shape, paint = dice.weighted(CARS), dice.weighted(PAINTS)
    paint = scaled(paint, dice.uniform(0.85, 1.12))
    half, length = shape.width / 2, shape.length
    places = (length * 0.31, -length * 0.3)
    end, radius = length / 2, 0.31 + 0.03 * (shape.height > 1.6)
    shadow(canvas, pose, length, shape.width)
    hood = shape.belt - 0.16
    body = [
        (-end, 0.24), (-end, shape.belt - 0.25), (-end + 0.1, shape.belt),
        (end - shape.nose, shape.belt), (end - 0.15, hood), (end, hood - 0.22), (end, 0.24),
    ]  # fmt: skip
    with canvas.thing("car"):
        wheels(canvas, pose, places, half, radius)
        faces = prism(body, half, paint) + _flanks(shape, paint) + wheel_discs(places, half, radius)
        faces += ends(length, half, 0.28, (hood - 0.2, hood - 0.04), canvas.light.lamps, dice)
        paint_part(canvas, pose, faces)
        paint_part(canvas, pose, _cabin(shape, paint))


def _flanks(shape: CarShape, paint: Colour) -> list[Face]:
    """Sill, gleam below the windows and door gaps."""
    end, half, belt = shape.length / 2, shape.width / 2, shape.belt
    faces = flank_panel(-end, end, 0.24, 0.38, half, scaled(paint, 0.6), SMOOTH)
    faces += flank_panel(-end, end - 0.02, 0.38, 0.55, half, scaled(paint, 0.86), SMOOTH)
    gleam = mix(scaled(paint, 1.05), (235, 230, 225), 0.22)
    faces += flank_panel(-end + 0.1, end - shape.nose, belt - 0.1, belt, half, gleam, SMOOTH)
    for seam in (0.42, -0.35):
        faces += flank_panel(seam, seam + 0.03, 0.4, belt, half, scaled(paint, 0.55), SMOOTH)
    return faces


def _cabin(shape: CarShape, paint: Colour) -> list[Face]:
    """Roof, pillars and panes."""
    end, half, top = shape.length / 2, shape.width / 2 - 0.03, shape.width / 2 - 0.2
    if shape.height > 1.8:
        top = half - 0.06
    a0, a1 = -end + shape.tail, end - shape.nose
    b0, b1 = a0 + shape.rake * (0.6 if shape.tail < 0.5 else 1.0), a1 - shape.rake
    y0, y1 = shape.belt - 0.02, shape.height
    low = {-1: [(a0, y0, -half), (a1, y0, -half)], 1: [(a0, y0, half), (a1, y0, half)]}
    high = {-1: [(b0, y1, -top), (b1, y1, -top)], 1: [(b0, y1, top), (b1, y1, top)]}
    faces: list[Face] = [([*high[-1], high[1][1], high[1][0]], paint, SMOOTH)]
    for end_index in (0, 1):
        pillar = [low[-1][end_index], low[1][end_index], high[1][end_index], high[-1][end_index]]
        faces.append((pillar, scaled(paint, 0.9), SMOOTH))
        faces.append((_inset(pillar, 0.07, 0.08), PANE, GLASS))
        # the upper half of a screen mirrors the sky
        upper = [
            _between(pillar[0], pillar[3], 0.5),
            _between(pillar[1], pillar[2], 0.5),
            pillar[2],
            pillar[3],
        ]
        faces.append((_inset(upper, 0.1, 0.16), mix(PANE, (220, 200, 180), 0.3), GLASS))
    for sign in (-1, 1):
        flank = [*low[sign], high[sign][1], high[sign][0]]
        faces.append((flank, paint, SMOOTH))
        middle_low, middle_high = _between(flank[0], flank[1], 0.5), _between(flank[3], flank[2], 0.5)
        faces.append((_inset([flank[0], middle_low, middle_high, flank[3]], 0.06, 0.1), PANE, GLASS))
        faces.append((_inset([middle_low, flank[1], flank[2], middle_high], 0.06, 0.1), PANE, GLASS))
    return faces


def _between(first: Local, second: Local, part: float) -> Local:
    a, y, r = (first[k] + (second[k] - first[k]) * part for k in range(3))
    return a, y, r


def _inset(quad: Sequence[Local], sides: float, ends: float) -> list[Local]:
    """A quadrilateral shrunk by shares of its width and height."""
    low0, low1 = _between(quad[0], quad[1], sides), _between(quad[1], quad[0], sides)
    high0, high1 = _between(quad[3], quad[2], sides), _between(quad[2], quad[3], sides)
    return [
        _between(low0, high0, ends), _between(low1, high1, ends),
        _between(high1, low1, ends), _between(high0, low0, ends),
    ]  # fmt: skip
