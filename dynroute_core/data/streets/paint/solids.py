"""Vehicles as lists of convex parts with lit faces: the parts that all of them share.

Holds poses, boxes, prisms, wheels, lamps and panels, and the painter that draws those faces of a part that are
turned to the camera. `heading` is the unit vector (x, z) a vehicle points to. Leaves out whole vehicles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynroute_core.data.streets.canvas import NEAR, RING, SMOOTH, Canvas, Colour, Point3
from dynroute_core.data.streets.dice import Dice

# along (forward), up, across (right), metres from the middle of the vehicle on the ground
Local = tuple[float, float, float]

Face = tuple[Sequence[Local], Colour, int]

PANE: Colour = (62, 54, 46)

RUBBER: Colour = (34, 33, 32)

RED_LAMP: Colour = (36, 32, 176)

WHITE_LAMP: Colour = (235, 240, 240)


@dataclass(frozen=True)
class Pose:
    """Where a vehicle stands: middle (x, z) on the ground at height y, and its unit heading (x, z)."""

    x: float
    z: float
    heading: tuple[float, float]
    y: float = 0.0

    def world(self, point: Local) -> Point3:
        along, up, across = point
        hx, hz = self.heading
        return self.x + along * hx + across * hz, self.y + up, self.z + along * hz - across * hx


def paint_part(canvas: Canvas, pose: Pose, faces: Sequence[Face], shine: float = 1.0) -> None:
    """Paint the faces of a convex part that are turned to the camera."""
    corners = [point for points, _, _ in faces for point in points]
    middle = pose.world(
        (
            (min(p[0] for p in corners) + max(p[0] for p in corners)) / 2,
            (min(p[1] for p in corners) + max(p[1] for p in corners)) / 2,
            (min(p[2] for p in corners) + max(p[2] for p in corners)) / 2,
        )
    )
    eye = canvas.camera.height
    for points, colour, material in faces:
        world = [pose.world(point) for point in points]
        # three corners far apart: neighbours may lie on one line
        count = len(world)
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = world[0], world[count // 3], world[2 * count // 3]
        ax, ay, az, bx, by, bz = x1 - x0, y1 - y0, z1 - z0, x2 - x0, y2 - y0, z2 - z0
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        if nx * (x0 - middle[0]) + ny * (y0 - middle[1]) + nz * (z0 - middle[2]) < 0:
            nx, ny, nz = -nx, -ny, -nz
        if nx * x0 + ny * (y0 - eye) + nz * z0 < 0:
            shade = canvas.light.lambert(nx, ny, nz) * shine
            canvas.face(world, canvas.light.tone(colour, max(pose.z, NEAR), shade), material)


def box(
    along: tuple[float, float],
    up: tuple[float, float],
    half: float,
    colour: Colour,
    top_half: float | None = None,
) -> list[Face]:
    """The six faces of a box (a frustum if `top_half` differs) centred across."""
    (a0, a1), (y0, y1) = along, up
    wide = half if top_half is None else top_half
    low = [(a0, y0, -half), (a1, y0, -half), (a1, y0, half), (a0, y0, half)]
    top = [(a0, y1, -wide), (a1, y1, -wide), (a1, y1, wide), (a0, y1, wide)]
    faces: list[Face] = [(top, colour, SMOOTH)]
    for k in range(4):
        n = (k + 1) % 4
        faces.append(([low[k], low[n], top[n], top[k]], colour, SMOOTH))
    return faces


def prism(profile: Sequence[tuple[float, float]], half: float, colour: Colour) -> list[Face]:
    """A side profile (along, up), convex, extruded across the vehicle."""
    faces: list[Face] = []
    for k, (a0, y0) in enumerate(profile):
        a1, y1 = profile[(k + 1) % len(profile)]
        faces.append(([(a0, y0, -half), (a1, y1, -half), (a1, y1, half), (a0, y0, half)], colour, SMOOTH))
    for across in (-half, half):
        faces.append(([(a, y, across) for a, y in profile], colour, SMOOTH))
    return faces


def shadow(canvas: Canvas, pose: Pose, length: float, width: float, keep: int = 110) -> None:
    """The dark patch under a vehicle."""
    if pose.z + length / 2 < NEAR + 0.5:
        return
    patch = []
    for along, across in ((-0.5, -0.52), (-0.52, 0.0), (-0.5, 0.52), (0.5, 0.52), (0.52, 0.0), (0.5, -0.52)):
        x, y, z = pose.world((along * length, 0.0, across * width))
        patch.append(canvas.camera.project(x, y, max(z, NEAR)))
    canvas.darken([patch], keep)


def wheels(canvas: Canvas, pose: Pose, places: Sequence[float], half: float, radius: float) -> None:
    """Tyres under the body: the blocks one sees from the front and the rear."""
    for along in places:
        for across in (-half + 0.13, half - 0.13):
            tyre = [
                (points, colour, material)
                for points, colour, material in _shift(
                    box((along - radius * 0.8, along + radius * 0.8), (0.0, radius * 2), 0.12, RUBBER), across
                )
            ]
            paint_part(canvas, pose, tyre, 0.8)


def _shift(faces: Sequence[Face], across: float) -> list[Face]:
    return [([(a, y, r + across) for a, y, r in points], c, m) for points, c, m in faces]


def wheel_discs(places: Sequence[float], half: float, radius: float) -> list[Face]:
    """Wheel arches, tyres and hubs on both flanks, as decals of the body."""
    faces: list[Face] = []
    for along in places:
        for across in (-half, half):
            for grow, lift, colour in (
                (1.2, 0.0, (24, 24, 24)),
                (1.0, 0.0, RUBBER),
                (0.58, 0.0, (150, 150, 150)),
            ):
                disc = [(along + c * radius * grow, radius + lift + s * radius * grow, across) for c, s in RING]
                faces.append((disc, colour, SMOOTH))
    return faces


def ends(length: float, half: float, low: float, lamp: tuple[float, float], lit: bool, dice: Dice) -> list[Face]:
    """Bumpers, lamps, plates and grille at both ends of a body; `lamp` is the height range of the lamps."""
    front, rear = length / 2 + 0.02, -length / 2 - 0.02
    bright = (215, 245, 255) if lit else WHITE_LAMP
    red = (60, 50, 240) if lit else RED_LAMP
    plate = (225, 228, 228) if dice.chance(0.8) else (80, 200, 235)
    faces = [
        end_panel(front, lamp[0] - 0.22, lamp[1] - 0.06, half * 0.5, (36, 36, 36), SMOOTH),
        end_panel(front, low, low + 0.2, half * 0.9, (48, 48, 48), SMOOTH),
        end_panel(rear, low, low + 0.22, half * 0.9, (44, 44, 44), SMOOTH),
        end_panel(front, low + 0.06, low + 0.18, 0.26, plate, SMOOTH),
        end_panel(rear, low + 0.26, low + 0.38, 0.26, plate, SMOOTH),
    ]
    for along, top, colour in ((front, lamp[1], bright), (rear, lamp[1] + 0.12, red)):
        for r0, r1 in ((half - 0.42, half - 0.05), (0.05 - half, 0.42 - half)):
            quad = [(along, lamp[0], r0), (along, lamp[0], r1), (along, top, r1), (along, top, r0)]
            faces.append((quad, colour, SMOOTH))
    return faces


def flank_panel(a0: float, a1: float, y0: float, y1: float, half: float, colour: Colour, material: int) -> list[Face]:
    """The same rectangle on both flanks."""
    return [([(a0, y0, r), (a1, y0, r), (a1, y1, r), (a0, y1, r)], colour, material) for r in (-half, half)]


def end_panel(along: float, y0: float, y1: float, half: float, colour: Colour, material: int) -> Face:
    return ([(along, y0, -half), (along, y0, half), (along, y1, half), (along, y1, -half)], colour, material)
