"""What lines a street stands in upright planes along it: the plane, its rectangles, its colours.

Leaves out what is painted there: buildings and barriers have modules of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dynroute_core.data.streets.canvas import Canvas, Colour, Point3

WALLS: tuple[Colour, ...] = (
    (168, 190, 206), (150, 172, 196), (196, 206, 212), (128, 150, 172), (110, 128, 150), (140, 140, 142),
    (176, 178, 174), (120, 150, 190), (96, 120, 170), (150, 190, 215), (190, 195, 180), (105, 110, 118),
)  # fmt: skip

BRICKS: tuple[Colour, ...] = ((74, 88, 140), (84, 104, 156), (96, 112, 138), (70, 80, 116), (120, 140, 168))

SHOPS: tuple[Colour, ...] = (
    (60, 60, 170),
    (130, 90, 40),
    (70, 110, 50),
    (40, 130, 190),
    (60, 50, 60),
    (150, 140, 130),
)


@dataclass(frozen=True)
class Front:
    """One item of a frontage. x: signed building line, z0..z1: its extent, height and depth in metres."""

    kind: str
    x: float
    z0: float
    z1: float
    height: float
    depth: float

    @property
    def sign(self) -> int:
        return -1 if self.x < 0 else 1


def side_plane(front: Front, y0: float, y1: float, z0: float, z1: float, out: float = 0.0) -> list[Point3]:
    """A rectangle in the plane of the front; `out` metres towards the street."""
    x = front.x - front.sign * out
    return [(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)]


def rectangles(
    canvas: Canvas, front: Front, centres: list[float], levels: list[tuple[float, float]], half: float,
    grow: float,
) -> list[npt.NDArray[np.int32]]:  # fmt: skip
    """Rectangles on the front around the given z centres and between the given heights."""
    z = np.array(centres, np.float64)[None, :, None] + np.array([-1.0, 1.0, 1.0, -1.0]) * (half + grow)
    low = np.array([level[0] - grow for level in levels], np.float64)[:, None]
    high = np.array([level[1] + grow for level in levels], np.float64)[:, None]
    y = np.concatenate((low, low, high, high), axis=1)[:, None, :]
    shape = (len(levels), len(centres), 4)
    x = np.full(shape, front.x, np.float64)
    flat = (np.broadcast_to(part, shape).reshape(-1, 4) for part in (x, y, z))
    return canvas.quads(*flat)
