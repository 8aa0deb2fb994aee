"""Buildings along a street, in perspective: walls, roofs, windows, shops, balconies."""

from __future__ import annotations

import numpy as np

from dynroute_core.data.streets.canvas import BRICK, GLASS, NEAR, PLASTER, SMOOTH, Canvas, Colour, mix, scaled
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.paint.fronts import BRICKS, SHOPS, WALLS, Front, rectangles, side_plane

ROOFS: tuple[Colour, ...] = ((64, 70, 112), (74, 74, 78), (60, 62, 92), (86, 84, 84))

GLASS_TONES: tuple[Colour, ...] = ((70, 62, 52), (98, 88, 74), (140, 128, 108))


def paint_building(canvas: Canvas, front: Front, dice: Dice) -> None:
    light = canvas.light
    brick = dice.chance(0.3)
    wall = dice.pick(BRICKS if brick else WALLS)
    wall = scaled(wall, dice.uniform(0.82, 1.15))
    z0, z1 = max(front.z0, NEAR), front.z1
    middle = (z0 + z1) / 2 if z0 > 4 else z1 / 3
    lit = light.tone(wall, middle, light.lambert(-front.sign, 0, 0))
    end = light.tone(wall, z0, light.lambert(0, 0, -1))
    far_x = front.x + front.sign * front.depth
    with canvas.thing("building"):
        _roof(canvas, front, dice.child())
        if front.z0 > NEAR:
            corners = [(front.x, 0.0), (far_x, 0.0), (far_x, front.height), (front.x, front.height)]
            canvas.face([(x, y, z0) for x, y in corners], end, PLASTER)
            _end_windows(canvas, front, dice.child())
        canvas.face(side_plane(front, 0, front.height, z0, z1), lit, BRICK if brick else PLASTER)
        _facade(canvas, front, wall, middle, dice.child())


def _roof(canvas: Canvas, front: Front, dice: Dice) -> None:
    """A pitched roof with its gable, or a cornice."""
    light, z0, z1 = canvas.light, max(front.z0, NEAR), front.z1
    colour = dice.pick(ROOFS)
    pitched = front.kind == "house" or dice.chance(0.45)
    tone = light.tone(colour, (z0 + z1) / 2, light.lambert(-front.sign * 0.7, 0.7, 0))
    ridge_x = front.x + front.sign * front.depth / 2
    if pitched:
        ridge = front.height + dice.uniform(0.5, 0.85) * min(front.depth, 9.0) / 2
        eave = front.x - front.sign * 0.35
        slope = [
            (eave, front.height - 0.1, z0), (eave, front.height - 0.1, z1),
            (ridge_x, ridge, z1), (ridge_x, ridge, z0),
        ]  # fmt: skip
        canvas.face(slope, tone, SMOOTH)
        if front.z0 > NEAR:
            far_x = front.x + front.sign * front.depth
            gable = [
                (front.x, front.height, z0),
                (eave, front.height - 0.1, z0),
                (ridge_x, ridge, z0),
                (far_x, front.height, z0),
            ]
            canvas.face(gable, light.tone(colour, z0, light.lambert(0, 0, -1) * 1.15), PLASTER)
        if dice.chance(0.6):
            _chimney(canvas, front, ridge_x, ridge, dice)
    else:
        canvas.face(side_plane(front, front.height, front.height + 0.5, z0, z1, 0.25), tone, SMOOTH)
        canvas.face(
            [(front.x, front.height, z0), (ridge_x, front.height, z0),
             (ridge_x, front.height + 0.5, z0), (front.x - front.sign * 0.25, front.height + 0.5, z0)],
            scaled(tone, 0.85), SMOOTH,
        )  # fmt: skip


def _chimney(canvas: Canvas, front: Front, x: float, ridge: float, dice: Dice) -> None:
    z = dice.uniform(front.z0, front.z1)
    if z > NEAR + 1:
        tone = canvas.light.tone((70, 78, 110), z, 0.8)
        box = [
            (x - 0.4, ridge - 1, z),
            (x + 0.4, ridge - 1, z),
            (x + 0.4, ridge + 1, z),
            (x - 0.4, ridge + 1, z),
        ]
        canvas.face(box, tone, PLASTER)


def _levels(front: Front, ground: float, storey: float, tall: float) -> list[tuple[float, float]]:
    count = max(0, int((front.height - ground - 0.3) / storey))
    return [(ground + k * storey + 0.75, ground + k * storey + 0.75 + tall) for k in range(count)]


def _facade(canvas: Canvas, front: Front, wall: Colour, middle: float, dice: Dice) -> None:
    """Windows, cornices, balconies and the ground floor."""
    light = canvas.light
    shade = light.lambert(-front.sign, 0, 0)
    spacing, half = dice.uniform(2.0, 3.6), dice.uniform(0.45, 0.75)
    ground = 1.0 if front.kind == "house" else dice.uniform(3.4, 4.4)
    storey, tall = dice.uniform(2.8, 3.5), dice.uniform(1.2, 1.8)
    if dice.chance(0.2):
        half = spacing / 2 - 0.15
    count = int((front.z1 - front.z0 - 0.8) / spacing)
    start = front.z0 + (front.z1 - front.z0 - (count - 1) * spacing) / 2
    centres = [start + k * spacing for k in range(count)]
    # what lies beside or behind the camera needs no windows
    centres = [z for z in centres if z - half - 0.2 > NEAR]
    levels = _levels(front, ground, storey, tall)
    if centres and levels:
        frame = light.tone(mix(wall, (225, 228, 230), dice.uniform(0.3, 0.9)), middle, shade)
        fine = middle < 60
        if fine:
            canvas.fill_all(rectangles(canvas, front, centres, levels, half, 0.14), frame, inside=True)
        panes = rectangles(canvas, front, centres, levels, half, 0.0)
        offset = dice.below(3)
        for k, glass in enumerate(GLASS_TONES):
            tone = light.tone(glass, middle, shade * dice.uniform(0.8, 1.1))
            if light.lamps and k == 2:
                tone = light.tone((120, 190, 235), middle)
            chosen = [pane for n, pane in enumerate(panes) if (n * n + n // 3 + offset) % 3 == k]
            canvas.fill_all(chosen, tone, GLASS, inside=True)
        if fine and half < 0.9:
            bars = rectangles(canvas, front, centres, levels, 0.03, 0.0)
            canvas.fill_all(bars, frame, inside=True)
        if middle < 45 and front.kind == "building":
            _ledges(canvas, front, levels, light.tone(wall, middle, shade * 0.8), dice)
    _ground_floor(canvas, front, ground, middle, shade, dice)


def _ledges(canvas: Canvas, front: Front, levels: list[tuple[float, float]], tone: Colour, dice: Dice) -> None:
    z0, z1 = max(front.z0, NEAR), front.z1
    style = dice.below(3)
    for low, _ in levels:
        if style == 0:
            canvas.face(side_plane(front, low - 0.5, low - 0.32, z0, z1), tone, inside=True)
        elif style == 1 and z1 - z0 > 6 and z0 > 2:
            width = (z1 - z0) * 0.22
            centre = z0 + (z1 - z0) * 0.5
            canvas.face(side_plane(front, low - 0.3, low + 0.5, centre - width, centre + width, 0.5), tone)


def _ground_floor(canvas: Canvas, front: Front, ground: float, middle: float, shade: float, dice: Dice) -> None:
    """Shop windows with their sign, or doors."""
    light, z0, z1 = canvas.light, max(front.z0 + 0.3, NEAR), front.z1 - 0.3
    if z1 - z0 < 1:
        return
    if front.kind == "house":
        door = z0 + (z1 - z0) * dice.uniform(0.2, 0.8)
        tone = light.tone(dice.pick(SHOPS), middle, shade)
        canvas.face(side_plane(front, 0.1, 2.2, door, min(door + 1.0, z1)), tone, inside=True)
        return
    if dice.chance(0.6):
        sign_tone = light.tone(dice.pick(SHOPS), middle, shade * 1.1)
        place = z0
        while place < z1 - 1.5:
            stop = min(place + dice.uniform(3, 7), z1)
            pane = light.tone(dice.pick(GLASS_TONES), middle, shade)
            if light.lamps and dice.chance(0.7):
                pane = light.tone((150, 205, 240), middle)
            canvas.face(side_plane(front, 0.5, 2.7, place + 0.2, stop - 0.2), pane, GLASS, inside=True)
            canvas.face(side_plane(front, 2.75, 3.3, place + 0.1, stop - 0.1), sign_tone, SMOOTH, inside=True)
            if dice.chance(0.3):
                _awning(canvas, front, place + 0.3, stop - 0.3, dice)
            place = stop
    else:
        place = z0 + dice.uniform(0, 3)
        while place < z1 - 1.2:
            tone = light.tone(dice.pick(SHOPS), middle, shade * 0.7)
            canvas.face(side_plane(front, 0.1, 2.4, place, place + 1.1), tone, inside=True)
            pane = light.tone(GLASS_TONES[1], middle, shade)
            canvas.face(side_plane(front, 1.1, 2.4, place + 2.0, min(place + 3.2, z1)), pane, GLASS, inside=True)
            place += dice.uniform(4, 8)


def _awning(canvas: Canvas, front: Front, z0: float, z1: float, dice: Dice) -> None:
    out = front.x - front.sign * 1.1
    cloth = canvas.light.tone(dice.pick(SHOPS), (z0 + z1) / 2, canvas.light.lambert(-front.sign, 1, 0))
    canvas.face([(front.x, 3.1, z0), (front.x, 3.1, z1), (out, 2.5, z1), (out, 2.5, z0)], cloth)
    canvas.face([(out, 2.5, z0), (out, 2.5, z1), (out, 2.25, z1), (out, 2.25, z0)], scaled(cloth, 0.8))


def _end_windows(canvas: Canvas, front: Front, dice: Dice) -> None:
    """Windows in the wall that faces the camera; a deep wall is a row of houses along the crossing street."""
    if front.z0 > 70 or (front.depth < 30 and dice.chance(0.4)):
        return
    tone = canvas.light.tone(GLASS_TONES[0], front.z0, canvas.light.lambert(0, 0, -1))
    step, wide = dice.uniform(2.6, 4.0), dice.uniform(0.9, 1.3)
    columns, floors = int(min(front.depth, 40.0) / step), int((front.height - 1.2) / 3.1)
    if columns < 1 or floors < 1:
        return
    low, left = np.meshgrid(1.2 + 3.1 * np.arange(floors), 1.0 + step * np.arange(columns), indexing="ij")
    x = front.x + front.sign * (left.reshape(-1, 1) + np.array([0.0, wide, wide, 0.0]))
    y = low.reshape(-1, 1) + np.array([0.0, 0.0, 1.4, 1.4])
    canvas.fill_all(canvas.quads(x, y, np.full(x.shape, front.z0)), tone, GLASS, inside=True)
