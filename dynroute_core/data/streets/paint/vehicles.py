"""Cars and vans; buses, lorries, trams, caravans and trailers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynroute_core.data.streets.canvas import GLASS, SMOOTH, TURN, Canvas, Colour, mix, scaled
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.paint.solids import (
    PANE,
    WHITE_LAMP,
    Face,
    Local,
    Pose,
    box,
    end_panel,
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

BUS_PAINTS: tuple[Colour, ...] = (
    (40, 60, 200),
    (50, 180, 220),
    (220, 222, 222),
    (150, 90, 40),
    (70, 130, 60),
)

TRUCK_PAINTS: tuple[Colour, ...] = (
    (228, 228, 226),
    (160, 110, 50),
    (50, 50, 170),
    (60, 120, 70),
    (110, 160, 190),
    (120, 122, 124),
)

TRAM_HEIGHT = 3.4


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


def paint_bus(canvas: Canvas, pose: Pose, length: float, dice: Dice) -> None:
    """A city bus."""
    paint, half, height = dice.pick(BUS_PAINTS), 1.25, dice.uniform(2.9, 3.3)
    band = dice.pick((mix(paint, (235, 235, 235), 0.6), scaled(paint, 0.6), paint))
    end, pane = length / 2, scaled(PANE, dice.uniform(0.8, 1.3))
    shadow(canvas, pose, length, 2.5)
    with canvas.thing("bus"):
        wheels(canvas, pose, (end * 0.6, -end * 0.5), half, 0.48)
        faces = box((-end, end), (0.3, height), half, paint, half - 0.05)
        faces += flank_panel(-end, end, 0.3, 0.95, half, band, SMOOTH)
        count = max(4, int(length / 1.5))
        for k in range(count):
            start = -end + 0.25 + k * (length - 0.5) / count
            stop = start + (length - 0.5) / count - 0.12
            low = 0.5 if k in (1, count - 1, count // 2) else 1.25
            faces += flank_panel(start, stop, low, height - 0.55, half - 0.01, pane, GLASS)
        faces += wheel_discs((end * 0.6, -end * 0.5), half, 0.48)
        faces += ends(length, half, 0.35, (0.7, 0.95), canvas.light.lamps, dice)
        faces.append(end_panel(end + 0.01, 1.1, height - 0.55, half - 0.12, pane, GLASS))
        faces.append(end_panel(-end - 0.01, 1.6, height - 0.5, half - 0.2, pane, GLASS))
        for along in (end + 0.02, -end - 0.02):
            faces.append(end_panel(along, height - 0.45, height - 0.15, half * 0.7, (30, 30, 30), SMOOTH))
            faces.append(end_panel(along, height - 0.38, height - 0.22, half * 0.5, (40, 170, 240), SMOOTH))
        paint_part(canvas, pose, faces)


def paint_truck(canvas: Canvas, pose: Pose, length: float, dice: Dice) -> None:
    """A lorry: cab and body, the nearer of the two painted last."""
    cab, cargo = dice.pick(TRUCK_PAINTS), dice.pick(TRUCK_PAINTS)
    half, tall = 1.22, dice.uniform(2.9, 3.7)
    end, joint = length / 2, length / 2 - 1.9
    kind = dice.weighted((("box", 3.0), ("tipper", 1.0), ("tank", 1.0)))
    shadow(canvas, pose, length, 2.5)
    with canvas.thing("truck"):
        wheels(canvas, pose, (end - 1.1, -end * 0.45, -end * 0.7), half, 0.48)
        front = box((joint + 0.1, end), (0.45, 2.75), half, cab, half - 0.08)
        front += flank_panel(joint + 0.7, end - 0.15, 1.6, 2.45, half - 0.03, PANE, GLASS)
        front.append(end_panel(end + 0.01, 1.55, 2.5, half - 0.15, PANE, GLASS))
        front += ends(length, half, 0.5, (0.75, 0.98), canvas.light.lamps, dice)
        frame = box((-end, joint + 0.1), (0.5, 0.95), half - 0.1, (52, 52, 54))
        frame += wheel_discs((-end * 0.45, -end * 0.7), half - 0.08, 0.48)
        frame += ends(length, half, 0.55, (0.7, 0.85), canvas.light.lamps, dice)
        load = _load(kind, -end, joint - 0.1, half, tall, cargo)
        tyres = wheel_discs((end - 1.1,), half, 0.48)
        parts = [frame, load, front + tyres]
        toward = pose.heading[1] * pose.z + pose.heading[0] * pose.x
        if toward > 0:
            parts = [front + tyres, frame, load]
        for part in parts:
            paint_part(canvas, pose, part)


def _load(kind: str, a0: float, a1: float, half: float, tall: float, paint: Colour) -> list[Face]:
    if kind == "tank":
        middle, radius = 1.95, 1.0
        ring = [(c * radius * 1.15, middle + s * radius) for c, s in TURN]
        faces: list[Face] = []
        for k, (r0, y0) in enumerate(ring):
            r1, y1 = ring[(k + 1) % 16]
            faces.append(([(a0, y0, r0), (a1, y0, r0), (a1, y1, r1), (a0, y1, r1)], paint, SMOOTH))
        for along in (a0, a1):
            faces.append(([(along, y, r) for r, y in ring], scaled(paint, 0.9), SMOOTH))
        return faces
    if kind == "tipper":
        faces = box((a0, a1), (0.95, 2.2), half - 0.1, paint, half)
        for k in range(1, 5):
            at = a0 + (a1 - a0) * k / 5
            faces += flank_panel(at, at + 0.12, 0.95, 2.2, half + 0.01, scaled(paint, 0.75), SMOOTH)
        return faces
    faces = box((a0, a1), (0.9, tall), half, paint)
    faces += flank_panel(a0 + 0.5, a1 - 0.5, tall * 0.5, tall * 0.75, half + 0.01, scaled(paint, 0.72), SMOOTH)
    for offset in (-0.03, 0.03):
        door = [
            (a0 - 0.01, 1.0, offset - 0.02),
            (a0 - 0.01, 1.0, offset + 0.02),
            (a0 - 0.01, tall - 0.1, offset + 0.02),
            (a0 - 0.01, tall - 0.1, offset - 0.02),
        ]
        faces.append((door, scaled(paint, 0.6), SMOOTH))
    return faces


def paint_train(canvas: Canvas, pose: Pose, cars: int, dice: Dice) -> None:
    """A tram of `cars` sections, its middle at the pose."""
    paint, half = dice.pick(BUS_PAINTS), 1.2
    band = dice.pick(((225, 226, 226), scaled(paint, 0.7), (60, 60, 60)))
    pane, section = scaled(PANE, dice.uniform(0.8, 1.2)), 9.0
    order = list(range(cars))
    if pose.heading[1] * pose.z + pose.heading[0] * pose.x > 0:
        order.reverse()
    shadow(canvas, pose, section * cars, 2.4)
    with canvas.thing("train"):
        for k in order:
            a0 = (k - cars / 2) * section
            a1 = a0 + section - 0.25
            noses = (0.7 if k == 0 else 0.0, 0.7 if k == cars - 1 else 0.0)
            profile = [
                (a0, 0.25), (a0, 1.3), (a0 + noses[0], TRAM_HEIGHT),
                (a1 - noses[1], TRAM_HEIGHT), (a1, 1.3), (a1, 0.25),
            ]  # fmt: skip
            faces = prism(profile, half, paint)
            faces += flank_panel(a0, a1, 0.25, 1.05, half + 0.01, band, SMOOTH)
            for n in range(5):
                start = a0 + 0.9 + n * (section - 1.9) / 5
                low = 0.5 if n in (1, 3) else 1.3
                faces += flank_panel(start, start + 1.2, low, TRAM_HEIGHT - 0.75, half + 0.02, pane, GLASS)
            faces += _tram_nose(a0, noses[0], half, pane) + _tram_nose(a1, -noses[1], half, pane)
            paint_part(canvas, pose, faces)


def _tram_nose(along: float, lean: float, half: float, pane: Colour) -> list[Face]:
    """Screen and lamps of a sloping end; nothing where the next section follows."""
    if not lean:
        return []
    low, high, wide = along + lean * 0.14, along + lean * 0.75, half * 0.85
    faces: list[Face] = [([(low, 1.6, -wide), (low, 1.6, wide), (high, 2.85, wide), (high, 2.85, -wide)], pane, GLASS)]
    for inner, outer in ((-1.0, -0.6), (0.6, 1.0)):
        lamp = [(along, 0.7, inner), (along, 0.7, outer), (along, 0.95, outer), (along, 0.95, inner)]
        faces.append((lamp, WHITE_LAMP, SMOOTH))
    return faces


def paint_trailer(canvas: Canvas, pose: Pose, label: str, dice: Dice) -> None:
    """A caravan or a small trailer, both ignored classes."""
    caravan = label == "caravan"
    length, height = (5.2, 2.5) if caravan else (2.6, 1.1)
    paint: Colour = (222, 226, 226) if caravan else (90, 92, 96)
    end = length / 2
    shadow(canvas, pose, length, 2.0)
    with canvas.thing(label):
        wheels(canvas, pose, (0.0,), 1.0, 0.33)
        faces = box((-end, end), (0.4, height), 1.02, paint, 0.95)
        faces += wheel_discs((0.0,), 1.02, 0.33)
        if caravan:
            faces += flank_panel(-end * 0.6, end * 0.4, 1.3, 1.9, 1.0, PANE, GLASS)
            faces.append(end_panel(-end - 0.01, 1.3, 1.9, 0.7, PANE, GLASS))
        paint_part(canvas, pose, faces)
