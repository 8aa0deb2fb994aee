"""The canvas street scenes are painted on: camera, light, polygon painting, object outlines.

Holds the projection from metres to pixels, the tone of a surface under the scene's light, filled polygons in
the picture (painted at twice the size, for smooth edges after averaging) and the drawing of each object's
outline into the label and instance images. Leaves out what is painted.

World frame: x to the right, y up, z forward, metres, the camera at (0, height, 0). Colours are BGR.
All arithmetic is IEEE + - * / and sqrt, so pixels agree on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi, sin, sqrt

import cv2
import numpy as np
import numpy.typing as npt

from dynroute_core.data.labels import CITYSCAPES_LABELS
from dynroute_core.data.streets.outlines import Outline, outlines

Colour = tuple[int, int, int]
Point = tuple[float, float]
Point3 = tuple[float, float, float]
FixedPolygon = npt.NDArray[np.int32]

# materials: what the finishing pass lays over a pixel
SMOOTH, ASPHALT, PAVING, GRASS, BRICK, PLASTER, LEAF, CLOTH, GLASS, SKY, FOLIAGE_FAR = range(11)

NEAR = 0.7
_SHIFT = 4
_ONE = 1 << _SHIFT
_REACH = 1 << 20
_LABELS = {label.name: label for label in CITYSCAPES_LABELS}

# rounded to 1/4096, so that the last bit of a platform's sine cannot matter
RING = tuple((round(4096 * cos(pi * k / 16)) / 4096, round(4096 * sin(pi * k / 16)) / 4096) for k in range(32))
TURN = RING[::2]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera over a road that bends sideways by `bend`·z² metres.

    focal, centre and horizon are in canvas pixels (twice the picture's), height is in metres.
    """

    focal: float
    centre: float
    horizon: float
    height: float
    bend: float

    def project(self, x: float, y: float, z: float) -> Point:
        return (
            self.centre + self.focal * (x / z + self.bend * z),
            self.horizon + self.focal * (self.height - y) / z,
        )


@dataclass(frozen=True)
class Light:
    """Sun, sky and air of a scene. `sun` is the unit vector towards the sun, `haze_range` is in metres."""

    sky_top: Colour
    sky_low: Colour
    haze: Colour
    haze_range: float
    sun: Point3
    sunshine: float
    ambient: float
    lamps: bool

    def lambert(self, nx: float, ny: float, nz: float) -> float:
        """Brightness factor of a surface with the given (not necessarily unit) normal."""
        length = sqrt(nx * nx + ny * ny + nz * nz) or 1.0
        facing = (nx * self.sun[0] + ny * self.sun[1] + nz * self.sun[2]) / length
        return self.ambient + 0.12 * ny / length + self.sunshine * max(0.0, facing)

    def tone(self, colour: Colour, z: float, shade: float = 1.0) -> Colour:
        """`colour` at distance `z` under brightness `shade`, haze included."""
        veil = z / (z + self.haze_range)
        b, g, r = (
            min(255, int(part * shade * (1.0 - veil) + mist * veil + 0.5))
            for part, mist in zip(colour, self.haze, strict=True)
        )
        return b, g, r


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` (0..1) of `second`."""
    b, g, r = (int(a + (c - a) * share + 0.5) for a, c in zip(first, second, strict=True))
    return b, g, r


def scaled(colour: Colour, factor: float) -> Colour:
    """`colour` brightened or darkened by `factor`."""
    b, g, r = (min(255, int(part * factor + 0.5)) for part in colour)
    return b, g, r


def _fix(points: Sequence[Point]) -> FixedPolygon:
    """Canvas coordinates in 1/16 pixel, kept within what the filler's integers hold."""
    values = np.rint(np.array(points, np.float64) * _ONE)
    return np.clip(values, -_REACH, _REACH).astype(np.int32)


def _clip_near(points: Sequence[Point3]) -> list[Point3]:
    """The part of a polygon in space that lies in front of the camera."""
    kept: list[Point3] = []
    for index, here in enumerate(points):
        before = points[index - 1]
        if (here[2] >= NEAR) != (before[2] >= NEAR):
            part = (NEAR - before[2]) / (here[2] - before[2])
            x, y = (before[k] + part * (here[k] - before[k]) for k in (0, 1))
            kept.append((x, y, NEAR))
        if here[2] >= NEAR:
            kept.append(here)
    return kept


class Canvas:
    """A picture being painted: `pixels` is 2H×2W×4 uint8 (B, G, R, material), the rest is H×W."""

    def __init__(self, height: int, width: int, camera: Camera, light: Light) -> None:
        self.height, self.width = height, width
        self.camera, self.light = camera, light
        self.pixels: npt.NDArray[np.uint8] = np.zeros((2 * height, 2 * width, 4), np.uint8)
        self.label_ids: npt.NDArray[np.uint8] = np.zeros((height, width), np.uint8)
        self.instance_ids: npt.NDArray[np.uint16] = np.zeros((height, width), np.uint16)
        self.polygons: list[Outline] = []
        self._counts: dict[str, int] = {}
        self._parts: list[FixedPolygon] = []

    @contextmanager
    def thing(self, label: str) -> Iterator[None]:
        """Paint one object: what is filled inside the block becomes its outline and gets its label."""
        self._parts = []
        yield
        self._label_outline(label)

    def fill(self, points: Sequence[Point], colour: Colour, material: int = SMOOTH, inside: bool = False) -> None:
        """Fill one polygon (canvas pixels); `inside`: it lies within the outline painted so far."""
        self.fill_all([_fix(points)], colour, material, inside)

    def fill_all(
        self, polygons: Sequence[FixedPolygon], colour: Colour, material: int = SMOOTH, inside: bool = False
    ) -> None:
        """Fill polygons that do not overlap with one colour; coordinates in 1/16 canvas pixel."""
        if polygons:
            cv2.fillPoly(self.pixels, polygons, (*colour, material), cv2.LINE_8, _SHIFT)
            if not inside:
                self._parts.extend(polygons)

    def outline(self, points: Sequence[Point]) -> None:
        """Count an area as part of the present object without painting it (gaps of a fence, of a wheel)."""
        self._parts.append(_fix(points))

    def face(self, points: Sequence[Point3], colour: Colour, material: int = SMOOTH, inside: bool = False) -> None:
        """Fill a polygon given in metres; what lies behind the camera is cut off."""
        if any(point[2] < NEAR for point in points):
            points = _clip_near(points)
            if len(points) < 3:
                return
        project = self.camera.project
        self.fill([project(x, y, z) for x, y, z in points], colour, material, inside)

    def quads(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], z: npt.NDArray[np.float64]
    ) -> list[FixedPolygon]:
        """N×4 corner coordinates in metres as polygons for `fill_all`; drops those not wholly in front."""
        keep = (z > NEAR).all(axis=1)
        x, y, z = x[keep], y[keep], z[keep]
        camera = self.camera
        u = camera.centre + camera.focal * (x / z + camera.bend * z)
        v = camera.horizon + camera.focal * (camera.height - y) / z
        corners = np.clip(np.rint(np.stack((u, v), axis=2) * _ONE), -_REACH, _REACH).astype(np.int32)
        inside = (u.max(axis=1) > 0) & (u.min(axis=1) < 2 * self.width)
        inside &= (v.max(axis=1) > 0) & (v.min(axis=1) < 2 * self.height)
        return list(corners[inside])

    def darken(self, polygons: Sequence[Sequence[Point]], keep: int) -> None:
        """Multiply the union of polygons by keep/256."""
        parts = [_fix(points) for points in polygons]
        box = self._box(parts, 1)
        if box is None:
            return
        x0, y0, x1, y1 = box
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        for part in parts:
            cv2.fillPoly(mask, [part], (256 - keep,), cv2.LINE_8, _SHIFT, (-x0 * _ONE, -y0 * _ONE))
        region = self.pixels[y0:y1, x0:x1, :3]
        region[:] = (region * (256 - mask.astype(np.uint16))[:, :, None]) >> 8

    def colour_at(self, u: float, v: float) -> Colour:
        """The colour painted so far at a canvas position (the nearest one inside)."""
        column = min(max(int(u), 0), 2 * self.width - 1)
        row = min(max(int(v), 0), 2 * self.height - 1)
        b, g, r = (int(part) for part in self.pixels[row, column, :3])
        return b, g, r

    def _box(self, parts: Sequence[FixedPolygon], cell: int) -> tuple[int, int, int, int] | None:
        """Bounds of polygons in cells of `cell` canvas pixels, cut to the canvas; None if outside."""
        if not parts:
            return None
        points = np.concatenate(parts)
        low, high = points.min(axis=0) // (_ONE * cell), points.max(axis=0) // (_ONE * cell) + 2
        x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
        x1 = min(int(high[0]), 2 * self.width // cell)
        y1 = min(int(high[1]), 2 * self.height // cell)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def _label_outline(self, name: str) -> None:
        """Turn the filled parts into polygons at picture size and draw them into the label images."""
        box = self._box(self._parts, 2)
        if box is None:
            return
        x0, y0, x1, y1 = box
        mask = np.zeros((2 * (y1 - y0), 2 * (x1 - x0)), np.uint8)
        for part in self._parts:
            # one by one: in a joint call overlapping parts would cancel out
            cv2.fillPoly(mask, [part], (1,), cv2.LINE_8, _SHIFT, (-2 * x0 * _ONE, -2 * y0 * _ONE))
        # one of the four sub-pixels decides, so that every label is a whole id
        sampled = np.ascontiguousarray(mask[1::2, 1::2])
        found, _ = cv2.findContours(sampled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
        if not found:
            return
        label = _LABELS[name]
        number = label.label_id
        if label.has_instances:
            number = label.label_id * 1000 + self._counts.get(name, 0)
            self._counts[name] = self._counts.get(name, 0) + 1
        contours = [np.asarray(contour, np.int32) for contour in found]
        self.polygons += outlines(label, contours, self.instance_ids)
        for contour in contours:
            cv2.fillPoly(self.label_ids, [contour], (label.label_id,))
            cv2.fillPoly(self.instance_ids, [contour], (number,))
