"""Bicycles, motorcycles and the people who ride them, as flat figures facing the camera.

`slim` 0.2..1 is how much of its side one sees (1: in profile, small: from the front or the rear).
"""

from __future__ import annotations

from dynroute_core.data.streets.canvas import TURN, Canvas, Colour, Point
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.paint.people import COATS, SKINS, TROUSERS, Figure, contact, paint_head

FRAMES: tuple[Colour, ...] = ((50, 50, 50), (60, 60, 170), (150, 110, 50), (180, 180, 180), (70, 120, 60))


def _wheel(figure: Figure, a: float, radius: float, slim: float, tyre: float) -> None:
    """A spoked wheel; its inside shows what lies behind, as in a real one, and is labelled with it."""
    thin = max(slim, 0.12)
    behind = figure.canvas.colour_at(*figure.at(a, radius))
    figure.disc(a, radius, radius * thin, radius, (30, 30, 30))
    inner = [
        (a + c * (radius - tyre) * max(thin - 0.1, 0.02), radius + s * (radius - tyre)) for c, s in figure.ring(radius)
    ]
    figure.canvas.fill([figure.at(*point) for point in inner], behind)
    if figure.scale * radius > 30:
        for c, s in TURN[:8:2]:
            reach = radius - tyre
            ends = [(a - c * reach * thin, radius - s * reach), (a + c * reach * thin, radius + s * reach)]
            figure.limb(ends, (0.012, 0.012), (92, 92, 92))


def paint_bicycle(canvas: Canvas, x: float, z: float, base: float, slim: float, flip: bool, dice: Dice) -> None:
    """A bicycle, parked or to be ridden."""
    figure = Figure(canvas, x, z, base, flip)
    colour = dice.pick(FRAMES)
    contact(canvas, x, z, base, 0.8 * slim + 0.1, 0.15)
    with canvas.thing("bicycle"):
        q, r = slim, 0.34
        for a in (-0.52, 0.52):
            _wheel(figure, a * q, r, q, 0.04)
        tube = (0.045, 0.045)
        seat, crank, head = (-0.2 * q, 0.86), (-0.05 * q, 0.3), (0.38 * q, 0.84)
        for first, second in (
            ((-0.52 * q, r), crank), ((-0.52 * q, r), (-0.17 * q, 0.7)), (crank, seat), (crank, head),
            ((-0.17 * q, 0.7), (0.36 * q, 0.74)), ((0.52 * q, r), (0.34 * q, 0.98)),
        ):  # fmt: skip
            figure.limb([first, second], tube, colour)
        figure.limb([(-0.31 * q - 0.04, 0.9), (-0.1 * q + 0.04, 0.89)], (0.07, 0.05), (30, 30, 30))
        wide = 0.26 * (1 - q)
        figure.limb([(0.34 * q - wide - 0.05, 1.0), (0.36 * q + wide + 0.08, 1.02)], (0.04, 0.04), (40, 40, 40))
        figure.limb([(-0.05 * q, 0.3), (-0.05 * q + 0.12 * q, 0.16)], (0.05, 0.05), (50, 50, 50))


# corners (along, up, side) of a motorcycle's parts: `along` shrinks with the view, `side` spreads it
_ENGINE = ((-0.45, 0.30, -1), (0.35, 0.28, 1), (0.40, 0.60, 1), (-0.40, 0.62, -1))
_SEAT = ((-0.72, 0.74, -1), (-0.10, 0.66, -1), (-0.05, 0.80, 1), (-0.70, 0.86, 1))
_TANK = ((-0.12, 0.62, -1), (0.42, 0.66, 1), (0.46, 0.90, 1), (0.10, 0.95, -1))
_TAIL = ((-0.75, 0.56, -1), (-0.40, 0.50, -1), (-0.35, 0.70, 1), (-0.78, 0.72, 1))


def paint_motorcycle(canvas: Canvas, x: float, z: float, base: float, slim: float, flip: bool, dice: Dice) -> None:
    """A motorcycle or scooter."""
    figure = Figure(canvas, x, z, base, flip)
    colour, q = dice.pick((*FRAMES, (40, 40, 190), (200, 200, 200))), slim
    wide = 0.2 * (1 - q)
    contact(canvas, x, z, base, 0.85 * q + 0.2, 0.25)
    with canvas.thing("motorcycle"):
        for a in (-0.62, 0.66):
            figure.disc(a * q, 0.31, max(0.31 * q, 0.09), 0.31, (28, 28, 28))
            figure.disc(a * q, 0.31, max(0.17 * q, 0.03), 0.17, (140, 140, 140))
        for part, paint in ((_ENGINE, (66, 66, 68)), (_SEAT, (32, 32, 32)), (_TANK, colour), (_TAIL, colour)):
            figure.poly([(a * q + side * wide, y) for a, y, side in part], paint, 0.85 if part is _TAIL else 1.0)
        figure.limb([(0.66 * q, 0.31), (0.42 * q, 0.98)], (0.1, 0.09), (150, 150, 150))
        figure.limb([(0.3 * q - wide * 1.4, 1.02), (0.42 * q + wide * 1.4, 1.04)], (0.06, 0.06), (30, 30, 30))
        lamp = (60, 50, 220) if dice.chance(0.5) and q < 0.5 else (220, 235, 235)
        figure.disc((0.52 if q > 0.5 else 0.0) * q, 0.86, 0.07, 0.08, lamp)
        figure.limb([(-0.7 * q, 0.34), (0.0, 0.3)], (0.09, 0.07), (170, 170, 170))


def paint_rider(
    canvas: Canvas, x: float, z: float, base: float, slim: float, flip: bool, motor: bool, dice: Dice
) -> None:
    """Somebody on the two-wheeler that was painted at the same place just before."""
    figure = Figure(canvas, x, z, base, flip)
    q, coat, trousers, skin = slim, dice.pick(COATS), dice.pick(TROUSERS), dice.pick(SKINS)
    seat, half = 0.86 if motor else 0.95, 0.13 + 0.09 * (1 - slim)
    hip, top = (-0.22 * q, seat), (0.02 * q, seat + 0.52)
    with canvas.thing("rider"):
        _pedalling(figure, hip, q, motor, trousers)
        back = [
            (hip[0] - half, hip[1] - 0.06), (top[0] - half, top[1] - 0.05), (top[0] - half * 0.4, top[1] + 0.07),
            (top[0] + half * 0.6, top[1] + 0.06), (top[0] + half, top[1] - 0.08), (hip[0] + half, hip[1] - 0.04),
        ]  # fmt: skip
        figure.poly(back, coat)
        if dice.chance(0.25):
            pack = [
                (hip[0] - half * 0.9, hip[1] + 0.1), (top[0] - half * 1.3, top[1] - 0.05),
                (top[0] + half * 0.2, top[1]), (hip[0] + half * 0.5, hip[1] + 0.12),
            ]  # fmt: skip
            figure.poly(pack, dice.pick(COATS))
        for sign, shade in ((-1, 0.75), (1, 0.88)):
            out = sign * (half * 0.9 * (1 - q) + 0.02)
            grip = (0.36 * q + out * 1.1, 1.04)
            elbow = ((top[0] + 0.36 * q) / 2 + out * 1.3, top[1] - 0.3)
            figure.limb([(top[0] + out, top[1] - 0.05), elbow, grip], (0.13, 0.1, 0.08), coat, shade)
            figure.disc(*grip, 0.045, 0.045, skin, shade)
        helmet = motor or dice.chance(0.5)
        paint_head(figure, top[0] + 0.07 * q, top[1] + 0.2, 1.05, q, skin, dice, helmet)


def _pedalling(figure: Figure, hip: Point, q: float, motor: bool, trousers: Colour) -> None:
    """Both legs, the far one first."""
    for sign, shade, drop in ((-1, 0.75, 0.2), (1, 1.0, 0.0)):
        spread = sign * (0.05 + 0.1 * (1 - q))
        a, y = (0.02 + 0.1 * sign) * q + spread, (0.3 if motor else 0.16) + drop * (not motor)
        knee = ((0.24 + 0.05 * sign) * q + spread * 1.4, 0.62 + drop * 0.6)
        figure.limb([(hip[0] + spread, hip[1]), knee, (a, y)], (0.19, 0.14, 0.1), trousers, shade)
        shoe = [
            (a - 0.07, y - 0.05),
            (a + 0.16 * q + 0.03, y - 0.05),
            (a + 0.1 * q, y + 0.04),
            (a - 0.06, y + 0.05),
        ]
        figure.poly(shoe, (34, 34, 36), shade)
