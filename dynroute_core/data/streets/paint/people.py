"""People as flat figures that face the camera, in metres around their foot point.

Holds `Figure`, the painter of such shapes that other modules use too, and people; also dogs and pushchairs,
which Cityscapes labels "dynamic". Leaves out riders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynroute_core.data.streets.canvas import CLOTH, RING, SMOOTH, TURN, Canvas, Colour, Point, mix, scaled
from dynroute_core.data.streets.dice import Dice

SKINS: tuple[Colour, ...] = ((150, 180, 220), (120, 155, 205), (90, 120, 170), (60, 85, 125), (40, 58, 90))

COATS: tuple[Colour, ...] = (
    (40, 38, 36), (70, 60, 50), (110, 70, 40), (50, 50, 130), (60, 90, 60), (120, 118, 116), (190, 195, 198),
    (70, 110, 160), (40, 140, 200), (90, 60, 110), (130, 100, 60), (60, 60, 190),
)  # fmt: skip

TROUSERS: tuple[Colour, ...] = (
    (44, 42, 40),
    (90, 70, 50),
    (70, 62, 58),
    (110, 124, 138),
    (60, 50, 44),
    (120, 96, 70),
)

HAIRS: tuple[Colour, ...] = ((24, 26, 30), (40, 60, 84), (70, 120, 160), (130, 130, 132), (30, 44, 70))


class Figure:
    """Paints polygons given in metres around a foot point, `flip` mirrors them."""

    def __init__(self, canvas: Canvas, x: float, z: float, base: float, flip: bool) -> None:
        self.canvas, self.z = canvas, z
        self._u, self._v = canvas.camera.project(x, base, z)
        self.scale = canvas.camera.focal / z
        self._sign = -1.0 if flip else 1.0
        # the sun's side is the brighter one
        self.bright = canvas.light.lambert(0.3 * canvas.light.sun[0], 0.3, -1.0)

    def at(self, a: float, y: float) -> Point:
        return self._u + self._sign * a * self.scale, self._v - y * self.scale

    def tone(self, colour: Colour, shade: float = 1.0) -> Colour:
        return self.canvas.light.tone(colour, self.z, self.bright * shade)

    def poly(self, points: Sequence[Point], colour: Colour, shade: float = 1.0, material: int = CLOTH) -> None:
        self.canvas.fill([self.at(a, y) for a, y in points], self.tone(colour, shade), material)

    def ring(self, radius: float) -> Sequence[Point]:
        """Corners of the unit circle, enough of them for a circle of `radius` metres to look round."""
        return RING if radius * self.scale > 16 else TURN

    def disc(self, a: float, y: float, rx: float, ry: float, colour: Colour, shade: float = 1.0) -> None:
        self.poly([(a + c * rx, y + s * ry) for c, s in self.ring(max(rx, ry))], colour, shade, SMOOTH)

    def limb(self, points: Sequence[Point], widths: Sequence[float], colour: Colour, shade: float = 1.0) -> None:
        """A chain of tapered segments through `points`."""
        for (a0, y0), (a1, y1), w0, w1 in zip(points, points[1:], widths, widths[1:], strict=False):
            da, dy = a1 - a0, y1 - y0
            # the larger component stands in for the length: close enough for the width of a limb
            size = max(abs(da), abs(dy)) + 0.4 * min(abs(da), abs(dy)) or 1.0
            na, ny = -dy / size / 2, da / size / 2
            self.poly(
                [(a0 + na * w0, y0 + ny * w0), (a1 + na * w1, y1 + ny * w1),
                 (a1 - na * w1, y1 - ny * w1), (a0 - na * w0, y0 - ny * w0)],
                colour, shade,
            )  # fmt: skip
            if self.scale * w1 > 3:
                self.disc(a1, y1, w1 / 2, w1 / 2, colour, shade)


def contact(canvas: Canvas, x: float, z: float, base: float, wide: float, deep: float) -> None:
    ring = [canvas.camera.project(x + c * wide, base, z + s * deep) for c, s in TURN]
    canvas.darken([ring], 150)


def paint_head(
    figure: Figure, a: float, y: float, k: float, slim: float, skin: Colour, dice: Dice, helmet: bool
) -> None:
    """Neck, face and hair or hat; the face shows when the figure looks at the camera."""
    hair = dice.pick(HAIRS)
    wide, tall = 0.082 * k, 0.118 * k
    figure.limb([(a - 0.01, y - 0.2 * k), (a, y - 0.05 * k)], (0.1 * k, 0.1 * k), skin, 0.85)
    figure.disc(a, y, wide, tall, skin)
    facing = dice.chance(0.5)
    if helmet:
        colour = dice.pick(((40, 40, 40), (200, 200, 200), (60, 60, 190), (170, 120, 60)))
        figure.poly(
            [
                (a - 0.11 * k, y + 0.02),
                *[(a + c * 0.115 * k, y + 0.02 + s * 0.125 * k) for c, s in TURN[8::-1]],
            ],
            colour,
        )
        return
    lower = 0.02 if facing else -0.07
    cap = [(a + c * wide * 1.12, y + s * tall * 1.08) for c, s in TURN[8::-1]]
    figure.poly([*cap, (a + wide * 1.05, y + lower * k), (a - wide * 1.1, y + min(lower, 0.0) * k - 0.04)], hair)
    if facing:
        figure.disc(a + 0.02 * slim, y - 0.02 * k, wide * 0.88, tall * 0.8, skin)
        if figure.scale * k > 160:
            for side in (-0.03, 0.035):
                figure.disc(a + side * k + 0.02 * slim, y + 0.005 * k, 0.011 * k, 0.009 * k, (40, 40, 50))
            figure.limb(
                [(a - 0.025 * k, y - 0.06 * k), (a + 0.03 * k, y - 0.06 * k)],
                (0.012 * k, 0.012 * k),
                (90, 90, 150),
            )


@dataclass(frozen=True)
class Build:
    """Size, posture and colours of a person: k is the size relative to 1.75 m, stride in metres."""

    k: float
    slim: float
    stride: float
    lift: float
    coat: Colour
    trousers: Colour
    skin: Colour
    shoe: Colour
    skirt: bool

    @property
    def shoulder(self) -> float:
        return (0.14 + 0.085 * (1 - self.slim)) * self.k


def _draw_build(dice: Dice) -> Build:
    tall = dice.uniform(1.0, 1.45) if dice.chance(0.14) else dice.uniform(1.55, 1.92)
    k, slim = tall / 1.75, dice.uniform(0.15, 1.0)
    shoes: tuple[Colour, ...] = ((30, 30, 30), (60, 70, 90), (210, 210, 210))
    return Build(
        k, slim, dice.uniform(0.0, 0.34) * k * slim, dice.uniform(0.0, 0.16) * k, dice.pick(COATS),
        dice.pick(TROUSERS), dice.pick(SKINS), dice.pick(shoes), dice.chance(0.2),
    )  # fmt: skip


def paint_person(canvas: Canvas, x: float, z: float, base: float, dice: Dice) -> None:
    """A standing or walking person, adult or child."""
    build = _draw_build(dice)
    figure = Figure(canvas, x, z, base, dice.chance(0.5))
    contact(canvas, x, z, base, 0.34 * build.k, 0.2)
    with canvas.thing("person"):
        _legs(figure, build, dice.chance(0.12))
        _arm(figure, build, -1, 0.7)
        _torso(figure, build, dice.uniform(0.62, 0.95) * build.k)
        if dice.chance(0.3):
            _bag(figure, build.shoulder, build.k, build.slim, dice)
        _arm(figure, build, 1, 0.87)
        paint_head(figure, 0.02 * build.slim * build.k, 1.62 * build.k, build.k, build.slim, build.skin, dice, False)


def _legs(figure: Figure, build: Build, shorts: bool) -> None:
    k, slim = build.k, build.slim
    apart = 0.085 * k * (1 - slim * 0.7)
    colour = build.skin if build.skirt or shorts else build.trousers
    for sign, shade in ((-1, 0.8), (1, 1.0)):
        foot = (sign * (build.stride + apart), (build.lift if sign < 0 else 0.0) * slim + 0.06 * k)
        knee = (sign * (build.stride * 0.4 + apart) + 0.06 * slim * k, 0.48 * k)
        figure.limb([(sign * apart, 0.9 * k), knee, foot], (0.19 * k, 0.14 * k, 0.1 * k), colour, shade)
        toe, heel, sole = foot[0] + (0.17 * slim + 0.02) * k, foot[0] - 0.06 * k, foot[1] - 0.06 * k
        shoe = [
            (heel, sole),
            (toe, sole),
            (toe - 0.03 * k, foot[1]),
            (foot[0] - 0.05 * k, foot[1] + 0.04 * k),
        ]
        figure.poly(shoe, build.shoe, shade)


def _torso(figure: Figure, build: Build, hem: float) -> None:
    k, wide = build.k, build.shoulder
    if build.skirt:
        hem = 0.85 * k
        skirt = [
            (-wide * 0.8, 1.0 * k),
            (wide * 0.8, 1.0 * k),
            (wide * 1.15, 0.55 * k),
            (-wide * 1.15, 0.55 * k),
        ]
        figure.poly(skirt, build.trousers)
    body = [
        (-wide, 1.42 * k), (-0.05 * k, 1.5 * k), (0.05 * k, 1.5 * k), (wide, 1.42 * k), (wide * 0.86, 1.05 * k),
        (wide * 0.95, hem), (-wide * 0.95, hem), (-wide * 0.86, 1.05 * k),
    ]  # fmt: skip
    figure.poly(body, build.coat)
    # the half turned away from the sun
    dark = wide if figure.canvas.light.sun[0] < 0 else -wide
    figure.poly([(dark, 1.42 * k), (dark * 0.4, 1.45 * k), (dark * 0.45, hem), (dark * 0.95, hem)], build.coat, 0.84)


def _arm(figure: Figure, build: Build, sign: int, shade: float) -> None:
    k, slim, stride = build.k, build.slim, build.stride
    top = (sign * build.shoulder * (1 - slim * 0.75), 1.39 * k)
    elbow = (top[0] - sign * stride * 0.5 + sign * 0.04 * k, 1.13 * k)
    hand = (elbow[0] - sign * stride * 0.35 + 0.06 * slim * k, 0.88 * k)
    figure.limb([top, elbow, hand], (0.13 * k, 0.105 * k, 0.08 * k), build.coat, shade)
    figure.disc(hand[0], hand[1] - 0.03 * k, 0.042 * k, 0.05 * k, build.skin, shade)


def _bag(figure: Figure, shoulder: float, k: float, slim: float, dice: Dice) -> None:
    colour = dice.pick(COATS)
    if slim > 0.5:
        a = -shoulder * 1.25
        figure.poly(
            [
                (a - 0.07 * k, 1.36 * k),
                (a + 0.1 * k, 1.38 * k),
                (a + 0.1 * k, 1.0 * k),
                (a - 0.08 * k, 1.0 * k),
            ],
            colour,
        )
    else:
        figure.poly(
            [
                (-shoulder * 0.7, 1.4 * k),
                (shoulder * 0.7, 1.4 * k),
                (shoulder * 0.6, 1.0 * k),
                (-shoulder * 0.6, 1.0 * k),
            ],
            colour,
        )


def paint_dynamic(canvas: Canvas, x: float, z: float, base: float, dice: Dice) -> None:
    """A dog or a pushchair."""
    figure = Figure(canvas, x, z, base, dice.chance(0.5))
    contact(canvas, x, z, base, 0.4, 0.15)
    with canvas.thing("dynamic"):
        if dice.chance(0.5):
            coat = mix(dice.pick(HAIRS), (90, 120, 150), 0.4)
            figure.poly([(-0.32, 0.32), (-0.3, 0.52), (0.26, 0.55), (0.3, 0.34)], coat)
            for a in (-0.28, -0.2, 0.18, 0.26):
                figure.limb([(a, 0.38), (a, 0.02)], (0.09, 0.06), coat, 0.85)
            figure.disc(0.36, 0.6, 0.12, 0.1, coat)
            figure.limb([(-0.3, 0.5), (-0.44, 0.62)], (0.06, 0.04), coat)
        else:
            cloth = dice.pick(COATS)
            figure.poly([(-0.4, 0.5), (0.35, 0.42), (0.42, 0.75), (-0.1, 0.8), (-0.2, 1.05), (-0.45, 0.95)], cloth)
            for a in (-0.3, 0.3):
                figure.disc(a, 0.14, 0.14, 0.14, (40, 40, 40))
                figure.limb([(a, 0.14), (-a * 0.6, 0.5)], (0.04, 0.04), scaled((150, 150, 150), 0.9))
