"""Walls, fences, hedges and guard rails along a street, in perspective."""

from __future__ import annotations

from dynroute_core.data.streets.canvas import BRICK, LEAF, NEAR, PLASTER, Canvas, Colour, Point3, scaled
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.paint.fronts import BRICKS, SHOPS, WALLS, Front, rectangles, side_plane


def paint_wall(canvas: Canvas, front: Front, dice: Dice) -> None:
    """A free-standing wall: masonry, concrete slabs or plaster, at times with paint on it."""
    light, z0, z1 = canvas.light, max(front.z0, NEAR), front.z1
    shade = light.lambert(-front.sign, 0, 0)
    brick = dice.chance(0.45)
    colour = scaled(dice.pick(BRICKS if brick else WALLS), dice.uniform(0.7, 1.0))
    near = z0 + (z1 - z0) / 4
    with canvas.thing("wall"):
        if front.z0 > NEAR:
            far_x = front.x + front.sign * 0.35
            end = [(front.x, 0.0), (far_x, 0.0), (far_x, front.height), (front.x, front.height)]
            canvas.face([(x, y, z0) for x, y in end], light.tone(colour, z0, light.lambert(0, 0, -1)), PLASTER)
        canvas.face(
            side_plane(front, 0, front.height, z0, z1),
            light.tone(colour, near, shade),
            BRICK if brick else PLASTER,
        )
        top = light.tone(scaled(colour, 1.15), near, light.lambert(0, 1, 0))
        canvas.face(side_plane(front, front.height, front.height + 0.12, z0, z1, 0.06), top)
        if not brick:
            joint = light.tone(colour, near, shade * 0.75)
            place = z0 + 1.0
            while place < z1:
                canvas.face(side_plane(front, 0.0, front.height, place, place + 0.08), joint, inside=True)
                place += 3.0
        if dice.chance(0.35):
            for _ in range(dice.between(2, 6)):
                place, low = dice.uniform(z0, z1 - 1), dice.uniform(0.2, front.height / 2)
                tag = light.tone(dice.pick(SHOPS), near, shade * 1.2)
                high = min(low + dice.uniform(0.3, 0.9), front.height)
                canvas.face(
                    [(front.x, low, place), (front.x, low + 0.1, place + dice.uniform(0.5, 1.6)),
                     (front.x, high, place + dice.uniform(0.4, 1.4)), (front.x, high - 0.1, place + 0.1)],
                    tag, inside=True,
                )  # fmt: skip


def paint_fence(canvas: Canvas, front: Front, dice: Dice) -> None:
    """Planks, or bars and rails one can look through; the outline counts the gaps as fence."""
    light, z0, z1 = canvas.light, max(front.z0, NEAR), front.z1
    shade = light.lambert(-front.sign, 0, 0)
    near = z0 + (z1 - z0) / 4
    planks = dice.chance(0.4)
    woods: tuple[Colour, ...] = (
        (80, 110, 140),
        (110, 130, 148),
        (200, 205, 208),
        (70, 90, 80),
        (120, 122, 124),
    )
    colour = dice.pick(woods) if planks else dice.pick((*woods, (60, 60, 58), (90, 110, 70)))
    tone = light.tone(colour, near, shade)
    step = 0.5 if planks else dice.pick((0.22, 0.3))
    with canvas.thing("fence"):
        area = side_plane(front, 0, front.height, z0, z1)
        if planks:
            canvas.face(area, tone, PLASTER)
            tone = scaled(tone, 0.72)
        else:
            canvas.outline([canvas.camera.project(*point) for point in area])
            for low, high in ((0.12, 0.2), (front.height - 0.12, front.height)):
                canvas.face(side_plane(front, low, high, z0, z1), tone)
        bars = min(int((min(z1, 70.0) - z0) / step), 220)
        if bars > 0:
            centres = [z0 + (k + 0.5) * step for k in range(bars)]
            height = front.height * (1.0 if planks else 0.98)
            canvas.fill_all(rectangles(canvas, front, centres, [(0.05, height)], 0.025, 0.0), tone, inside=True)
        posts = [z0 + k * 2.5 for k in range(1 + int((z1 - z0) / 2.5))]
        rows = rectangles(canvas, front, posts, [(0.0, front.height + 0.1)], 0.06, 0.0)
        canvas.fill_all(rows, scaled(tone, 0.85))


def paint_guard_rail(canvas: Canvas, front: Front, dice: Dice) -> None:
    light, z0, z1 = canvas.light, max(front.z0, NEAR), front.z1
    near = z0 + (z1 - z0) / 4
    tone = light.tone((170, 174, 176), near, light.lambert(-front.sign, 0, 0))
    with canvas.thing("guard rail"):
        posts = [z0 + k * 3.0 for k in range(1 + int((z1 - z0) / 3))]
        canvas.fill_all(rectangles(canvas, front, posts, [(0.0, 0.7)], 0.06, 0.0), scaled(tone, 0.7))
        canvas.face(side_plane(front, 0.45, 0.62, z0, z1), tone)
        canvas.face(side_plane(front, 0.62, 0.75, z0, z1), scaled(tone, 1.15))
        canvas.face(side_plane(front, 0.59, 0.64, z0, z1), scaled(tone, 0.7), inside=True)


def paint_hedge(canvas: Canvas, front: Front, dice: Dice) -> None:
    """A clipped hedge with a ragged top."""
    light, z0, z1 = canvas.light, max(front.z0, NEAR), front.z1
    colour = dice.pick(((44, 92, 62), (40, 76, 58), (52, 104, 84)))
    near = z0 + (z1 - z0) / 4
    tops = [(front.x, front.height * dice.uniform(0.88, 1.08), z1 + (z0 - z1) * k / 20) for k in range(21)]
    with canvas.thing("vegetation"):
        if front.z0 > NEAR:
            far_x = front.x + front.sign * 1.0
            end = [(front.x, 0.0), (far_x, 0.0), (far_x, front.height), (front.x, front.height)]
            tone = light.tone(colour, z0, light.lambert(0, 0, -1))
            canvas.face([(x, y, z0) for x, y in end], tone, LEAF)
        body: list[Point3] = [(front.x, 0.0, z0), (front.x, 0.0, z1), *tops]
        canvas.face(body, light.tone(colour, near, light.lambert(-front.sign, 0.4, 0)), LEAF)
        low: list[Point3] = side_plane(front, 0, front.height * 0.35, z0, z1)
        canvas.face(low, light.tone(colour, near, light.lambert(-front.sign, 0, 0) * 0.75), LEAF, inside=True)
