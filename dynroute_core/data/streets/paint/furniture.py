"""Trees, lamp posts, traffic lights and signs, bins, bollards and shelters.

Things that stand still along a street, as flat shapes facing the camera unless they are boxes.
"""

from __future__ import annotations

from dynroute_core.data.streets.canvas import (
    FOLIAGE_FAR,
    GLASS,
    LEAF,
    RING,
    SMOOTH,
    TURN,
    Canvas,
    Colour,
    Point,
    scaled,
)
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.paint.people import Figure
from dynroute_core.data.streets.paint.solids import Pose, box, paint_part

LEAVES: tuple[Colour, ...] = ((52, 104, 70), (44, 86, 64), (56, 120, 104), (40, 72, 60), (48, 110, 130))
STEEL: tuple[Colour, ...] = ((120, 122, 122), (84, 86, 86), (60, 68, 58), (150, 152, 152))


def _contact(canvas: Canvas, x: float, z: float, base: float, wide: float, deep: float, keep: int = 160) -> None:
    ring = [canvas.camera.project(x + c * wide, base, max(z + s * deep, 0.8)) for c, s in TURN]
    canvas.darken([ring], keep)


def paint_tree(canvas: Canvas, x: float, z: float, base: float, tall: float, dice: Dice) -> None:
    """A tree: trunk, boughs and a crown of leaf clumps, lit from the sun's side."""
    figure = Figure(canvas, x, z, base, False)
    kind = dice.weighted((("round", 5.0), ("slim", 1.5), ("cone", 1.2), ("bare", 0.8)))
    leaf, bark = (
        scaled(dice.pick(LEAVES), dice.uniform(0.85, 1.15)),
        dice.pick(((56, 66, 78), (70, 84, 92), (50, 56, 60))),
    )
    crown = {"round": 0.36, "slim": 0.17, "cone": 0.22, "bare": 0.32}[kind] * tall
    _contact(canvas, x, z, base, crown * 0.8, crown * 0.5, 200)
    girth = 0.022 * tall + 0.1
    with canvas.thing("vegetation"):
        fork = tall * (0.2 if kind == "cone" else 0.4)
        figure.poly([(-girth, 0), (-girth * 0.6, fork), (girth * 0.6, fork), (girth, 0)], bark, 0.8)
        figure.poly([(0.0, 0), (0.0, fork), (girth * 0.6, fork), (girth, 0)], bark, 0.62)
        for _ in range(3 if kind != "bare" else 12):
            a, y = dice.uniform(-crown, crown) * 0.8, dice.uniform(0.6, 0.98) * tall
            low = dice.uniform(0.25, 0.6) * tall if kind == "bare" else fork * 0.9
            figure.limb(
                [(0.0, low), (a * 0.5, (low + y) / 2), (a, y)],
                (girth * 0.8, girth * 0.45, girth * 0.1),
                bark,
                0.75,
            )
        if kind != "bare":
            _crown(figure, kind, tall, crown, leaf, dice)


def _crown(figure: Figure, kind: str, tall: float, crown: float, leaf: Colour, dice: Dice) -> None:
    sun = 1.0 if figure.canvas.light.sun[0] > 0 else -1.0
    material = LEAF if figure.scale * tall > 60 else FOLIAGE_FAR
    bottom = tall * (0.16 if kind == "cone" else 0.32)
    clumps: list[tuple[float, float, float, float]] = []
    # a near crown shows more and smaller clumps
    near = figure.scale * tall > 500
    for _ in range(64 if near else 28):
        part = dice.unit()
        y = bottom + (tall - bottom) * part
        bulge = 2 * part - 0.95
        reach = 1.02 - part if kind == "cone" else 1 - bulge * bulge * 0.8
        a = dice.uniform(-1, 1) * max(crown * reach, 0.05)
        size = crown * dice.uniform(0.2, 0.42) * (0.7 if near else 1.0) * (1.0 if kind != "cone" else 1.1 - part * 0.7)
        # low, shaded clumps first; the sunlit ones lie on top of them
        clumps.append((part * 0.6 + 0.4 * sun * a / crown + dice.uniform(-0.3, 0.3), a, y, size))
    clumps.sort()
    for rank, (_, a, y, size) in enumerate(clumps):
        shade = 0.5 + 0.62 * rank / len(clumps)
        shape: list[Point] = []
        for c, s in TURN:
            ragged = size * dice.uniform(0.72, 1.18)
            shape.append((a + c * ragged, y + s * ragged * 0.85))
        figure.poly(shape, leaf, shade, material)


def paint_bush(canvas: Canvas, x: float, z: float, base: float, dice: Dice) -> None:
    """A shrub."""
    figure = Figure(canvas, x, z, base, False)
    leaf, size = dice.pick(LEAVES), dice.uniform(0.4, 1.1)
    _contact(canvas, x, z, base, size, 0.3, 190)
    with canvas.thing("vegetation"):
        for k in range(7):
            a, y = dice.uniform(-0.8, 0.8) * size, size * dice.uniform(0.3, 0.9)
            shape = [
                (a + c * size * dice.uniform(0.4, 0.6), max(0.0, y + s * size * dice.uniform(0.35, 0.5)))
                for c, s in TURN
            ]
            figure.poly(shape, leaf, 0.55 + 0.08 * k, LEAF)


def paint_lamp(canvas: Canvas, x: float, z: float, base: float, toward: float, dice: Dice) -> None:
    """A street lamp whose arm reaches `toward` (signed metres) over the road."""
    figure = Figure(canvas, x, z, base, False)
    steel, tall = dice.pick(STEEL), dice.uniform(4.5, 9.0)
    thick = 0.08 if tall < 6 else 0.11
    _contact(canvas, x, z, base, 0.25, 0.1)
    with canvas.thing("pole"):
        figure.poly([(-thick, 0), (-thick * 0.6, tall), (thick * 0.6, tall), (thick, 0)], steel, 0.9, SMOOTH)
        figure.poly([(0.0, 0), (0.0, tall), (thick * 0.6, tall), (thick, 0)], steel, 0.65, SMOOTH)
        lamp = (190, 230, 255) if canvas.light.lamps else (200, 204, 204)
        if dice.chance(0.6):
            figure.limb([(0.0, tall - 0.05), (toward * 0.8, tall + 0.25)], (0.1, 0.08), steel)
            figure.poly(
                [
                    (toward * 0.6, tall + 0.14),
                    (toward * 1.2, tall + 0.24),
                    (toward * 1.2, tall + 0.36),
                    (toward * 0.6, tall + 0.34),
                ],
                lamp,
                1.0,
                SMOOTH,
            )
        else:
            figure.disc(0.0, tall + 0.15, 0.24, 0.28, lamp)


def _post(figure: Figure, tall: float, steel: Colour, thick: float = 0.045) -> None:
    figure.poly([(-thick, 0), (-thick, tall), (thick, tall), (thick, 0)], steel, 0.95, SMOOTH)
    figure.poly([(0.0, 0), (0.0, tall), (thick, tall), (thick, 0)], steel, 0.68, SMOOTH)


def paint_traffic_light(canvas: Canvas, x: float, z: float, base: float, toward: float, dice: Dice) -> None:
    """A traffic light on a post, at times with a second head on an arm over the road."""
    figure = Figure(canvas, x, z, base, False)
    steel, arm = dice.pick(STEEL), dice.chance(0.4)
    lit = dice.below(3)
    tall = 6.0 if arm else 3.1
    _contact(canvas, x, z, base, 0.2, 0.1)
    with canvas.thing("pole"):
        _post(figure, tall, steel, 0.09 if arm else 0.06)
        if arm:
            figure.limb([(0.0, tall - 0.1), (toward * 2.6, tall)], (0.12, 0.09), steel)
    places = [(0.0, 2.25)] + ([(toward * 2.4, 5.1)] if arm else [])
    back = dice.chance(0.2)
    for a, y in places:
        with canvas.thing("traffic light"):
            _signal_head(figure, a, y, 1.0 if y < 3 else 1.2, lit, back)


def _signal_head(figure: Figure, a: float, y: float, size: float, lit: int, back: bool) -> None:
    half, tall = 0.17 * size, 0.95 * size
    figure.poly([(a - half, y), (a - half, y + tall), (a + half, y + tall), (a + half, y)], (34, 38, 34), 1.0, SMOOTH)
    if back:
        return
    colours: tuple[Colour, ...] = ((60, 230, 60), (40, 190, 250), (40, 40, 245))
    for k, colour in enumerate(colours):
        glow = colour if k == lit else scaled(colour, 0.25)
        figure.disc(a, y + tall * (0.19 + 0.31 * k), half * 0.66, half * 0.66, glow, 1.4 if k == lit else 1.0)


def paint_sign(canvas: Canvas, x: float, z: float, base: float, dice: Dice) -> None:
    """One or two traffic signs on a post."""
    figure = Figure(canvas, x, z, base, False)
    steel, low = dice.pick(STEEL), dice.uniform(1.7, 2.5)
    size, count = dice.uniform(0.26, 0.38), 1 + dice.chance(0.3)
    back = dice.chance(0.15)
    _contact(canvas, x, z, base, 0.15, 0.08)
    with canvas.thing("pole"):
        _post(figure, low + count * size * 2.1, steel)
    for k in range(count):
        with canvas.thing("traffic sign"):
            _plate(figure, 0.0, low + size + k * size * 2.1, size, dice.weighted(_PLATES), back)


_PLATES = (("speed", 2.0), ("stop", 0.7), ("yield", 1.2), ("warn", 1.2), ("priority", 1.2), ("blue", 1.5),
           ("info", 1.5), ("entry", 0.8))  # fmt: skip
_RED: Colour = (44, 36, 200)
_WHITE: Colour = (236, 238, 238)
_BLUE: Colour = (170, 84, 24)
_YELLOW: Colour = (40, 190, 240)
_STEEL: Colour = (150, 152, 152)


def _regular(a: float, y: float, r: float, kind: str) -> list[Point]:
    shapes: dict[str, list[Point]] = {
        "yield": [(-1.1, 0.75), (1.1, 0.75), (0.0, -1.05)],
        "warn": [(-1.1, -0.8), (1.1, -0.8), (0.0, 1.05)],
        "priority": [(-1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)],
        "info": [(-0.9, -0.95), (-0.9, 0.95), (0.9, 0.95), (0.9, -0.95)],
        "stop": [(-1.0, -0.41), (-1.0, 0.41), (-0.41, 1.0), (0.41, 1.0),
                 (1.0, 0.41), (1.0, -0.41), (0.41, -1.0), (-0.41, -1.0)],
    }  # fmt: skip
    points = shapes.get(kind) or list(RING)
    return [(a + px * r, y + py * r) for px, py in points]


def _plate(figure: Figure, a: float, y: float, r: float, kind: str, back: bool) -> None:
    """One sign plate: rim, field and symbol."""

    def layer(factor: float, colour: Colour, shift: float = 0.0) -> None:
        figure.poly(_regular(a, y + shift * r, r * factor, kind), colour, 1.05, SMOOTH)

    if back:
        layer(1.0, _STEEL)
        return
    rim, field = {
        "speed": (_RED, _WHITE), "stop": (_WHITE, _RED), "yield": (_RED, _WHITE), "warn": (_RED, _WHITE),
        "priority": (_WHITE, _YELLOW), "blue": (_WHITE, _BLUE), "info": (_WHITE, _BLUE), "entry": (_RED, _RED),
    }[kind]  # fmt: skip
    layer(1.0, rim)
    layer(0.74 if rim != _WHITE else 0.86, field)
    bar = {"speed": (0.16, 0.4, (40, 40, 40)), "stop": (0.6, 0.14, _WHITE), "warn": (0.09, 0.32, (40, 40, 40)),
           "blue": (0.12, 0.5, _WHITE), "info": (0.4, 0.45, _WHITE),
           "entry": (0.7, 0.15, _WHITE)}.get(kind)  # fmt: skip
    if bar is not None:
        wide, tall, colour = bar[0] * r, bar[1] * r, bar[2]
        offsets = (-0.28 * r, 0.28 * r) if kind == "speed" else (0.0,)
        for off in offsets:
            figure.poly(
                [
                    (a + off - wide, y - tall),
                    (a + off - wide, y + tall),
                    (a + off + wide, y + tall),
                    (a + off + wide, y - tall),
                ],
                colour,
                1.0,
                SMOOTH,
            )


def paint_gantry(canvas: Canvas, x: float, z: float, toward: float, dice: Dice) -> None:
    """A direction board on a post that reaches over the road."""
    figure = Figure(canvas, x, z, 0.0, False)
    sign = 1.0 if toward > 0 else -1.0
    wide = dice.uniform(2.0, 3.6)
    with canvas.thing("pole"):
        _post(figure, 6.6, dice.pick(STEEL), 0.14)
        figure.limb([(0.0, 6.3), (sign * (wide + 1.6), 6.3)], (0.2, 0.14), dice.pick(STEEL))
    left, right = sorted((sign * 0.8, sign * (0.8 + wide)))
    field = dice.pick((_BLUE, (90, 120, 40), _YELLOW))
    with canvas.thing("traffic sign"):
        figure.poly([(left, 4.9), (left, 6.9), (right, 6.9), (right, 4.9)], _WHITE, 1.0, SMOOTH)
        figure.poly(
            [(left + 0.08, 4.98), (left + 0.08, 6.82), (right - 0.08, 6.82), (right - 0.08, 4.98)],
            field,
            1.0,
            SMOOTH,
        )
        for y in (5.3, 5.8, 6.3):
            stop = left + 0.4 + (right - left - 0.8) * dice.uniform(0.5, 1.0)
            figure.limb([(left + 0.3, y), (stop, y)], (0.18, 0.18), _WHITE)


def paint_static(canvas: Canvas, x: float, z: float, base: float, dice: Dice) -> None:
    """A bin, a switch box, a bench or a shelter: Cityscapes labels them "static"."""
    kind = dice.weighted((("bin", 3.0), ("cabinet", 2.0), ("shelter", 1.0)))
    pose = Pose(x, z, (0.0, 1.0), base)
    _contact(canvas, x, z, base, 0.5, 0.3)
    colour = dice.pick(((60, 84, 60), (84, 86, 88), (40, 100, 150), (130, 120, 110), (50, 50, 54)))
    with canvas.thing("static"):
        if kind == "bin":
            paint_part(canvas, pose, box((-0.25, 0.25), (0.1, 0.95), 0.22, colour, 0.27))
        elif kind == "cabinet":
            paint_part(canvas, pose, box((-0.3, 0.3), (0.0, 1.3), 0.5, colour))
        else:
            paint_part(canvas, pose, box((-1.6, 1.6), (2.3, 2.5), 0.7, (90, 92, 94)))
            outward = 0.65 if x > 0 else -0.65
            for along in (-1.5, 1.5):
                figure = Figure(canvas, x, max(z + along, 0.8), base, False)
                _post(figure, 2.35, (90, 92, 94))
                figure.poly(
                    [
                        (outward - 0.03, 0.2),
                        (outward - 0.03, 2.3),
                        (outward + 0.03, 2.3),
                        (outward + 0.03, 0.2),
                    ],
                    (120, 124, 120),
                    1.0,
                    GLASS,
                )


def paint_bollard(canvas: Canvas, x: float, z: float, base: float, dice: Dice) -> None:
    """A bollard; Cityscapes counts it as a pole."""
    figure = Figure(canvas, x, z, base, False)
    _contact(canvas, x, z, base, 0.16, 0.08)
    with canvas.thing("pole"):
        _post(figure, dice.uniform(0.8, 1.0), dice.pick((*STEEL, (60, 60, 190))), 0.07)
