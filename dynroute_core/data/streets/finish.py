"""From the painted canvas to the picture: averaging, surface texture, camera faults.

Holds asphalt grain, paving slabs, brick courses and leaves laid in perspective, sensor noise, blur, vignette
and the final tint. Everything that reaches a pixel is integer arithmetic or an IEEE-exact elementwise
operation. Labels are not touched here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dynroute_core.data.streets.canvas import (
    ASPHALT,
    BRICK,
    CLOTH,
    FOLIAGE_FAR,
    GLASS,
    GRASS,
    LEAF,
    PAVING,
    PLASTER,
    SKY,
    SMOOTH,
    Canvas,
    Colour,
)
from dynroute_core.data.streets.dice import TILE, Dice, noise_tile

Gain = npt.NDArray[np.int32]

# strength of pixel-fine and of blotchy noise, in 1/256 of the brightness at the noise's full swing of 128
_FINE = {SMOOTH: 4, ASPHALT: 10, PAVING: 8, GRASS: 26, BRICK: 10, PLASTER: 8, LEAF: 64, CLOTH: 12, GLASS: 3}
_BLOTCH = {
    SMOOTH: 6,
    ASPHALT: 6,
    PAVING: 8,
    GRASS: 26,
    BRICK: 16,
    PLASTER: 22,
    LEAF: 60,
    CLOTH: 20,
    GLASS: 26,
}
_FINE |= {SKY: 1, FOLIAGE_FAR: 30}
_BLOTCH |= {SKY: 0, FOLIAGE_FAR: 30}


@dataclass(frozen=True)
class Lens:
    """Faults of the camera. noise: swing in grey levels; blur: 3×3 passes; tint: BGR factors in 1/256."""

    noise: int
    blur: int
    vignette: int
    tint: Colour
    lift: int


def _table(strengths: dict[int, int]) -> npt.NDArray[np.int32]:
    return np.array([strengths[material] for material in range(len(strengths))], np.int32)


def _screen_noise(materials: npt.NDArray[np.uint8], dice: Dice) -> Gain:
    """Noise in the picture plane, by material."""
    height, width = materials.shape
    fine, blotch = noise_tile(1, (128, 64)), noise_tile(2, (32, 64))
    # the blotches keep their size relative to the picture at any resolution
    step = max(1, height // 256)
    rows, columns = np.arange(height), np.arange(width)
    shift = [dice.below(TILE) for _ in range(4)]
    near = fine[((rows + shift[0]) % TILE)[:, None], ((columns + shift[1]) % TILE)[None, :]]
    far = blotch[((rows // step + shift[2]) % TILE)[:, None], ((columns // step + shift[3]) % TILE)[None, :]]
    gain = near * _table(_FINE)[materials] + far * _table(_BLOTCH)[materials]
    result: Gain = (gain >> 7).astype(np.int32)
    return result


def _ground_noise(gain: Gain, materials: npt.NDArray[np.uint8], canvas: Canvas, dice: Dice) -> None:
    """Grain and slabs of the ground, laid out in metres so that they shrink with distance."""
    camera = canvas.camera
    first = max(0, int(camera.horizon / 2) + 2)
    if first >= canvas.height:
        return
    rows = np.arange(first, canvas.height, dtype=np.float64)[:, None] * 2 + 1
    columns = np.arange(canvas.width, dtype=np.float64)[None, :] * 2 + 1
    depth = camera.focal * camera.height / (rows - camera.horizon)
    across = (columns - camera.centre) * (depth / camera.focal) - camera.bend * depth * depth + 500.0
    pixel = depth * 2 / camera.focal
    part = materials[first:]
    total = np.zeros(part.shape, np.int32)
    for kind, cells, strength in ((3, 28.0, 34), (4, 5.0, 30), (5, 0.7, 26)):
        tile = noise_tile(kind, (64, 128))
        # finer than a pixel, a texture would only flicker: it fades
        fade = np.minimum(1.0, 1.0 / (cells * pixel * 2)) * strength
        along = np.floor(depth * cells).astype(np.int64) + dice.below(TILE)
        values = tile[along % TILE, np.floor(across * cells).astype(np.int64) % TILE]
        total += (values * fade.astype(np.int32)) >> 7
    slabs = (np.floor(depth * 20).astype(np.int64) % 11 == 0) | (np.floor(across * 20).astype(np.int64) % 11 == 0)
    seam = (np.minimum(1.0, 0.03 / (pixel + depth * pixel / 16)) * 52).astype(np.int32)
    ground = (part == ASPHALT) | (part == PAVING) | (part == GRASS)
    total -= np.where(slabs & (part == PAVING), seam, 0)
    gain[first:] += np.where(ground, total, 0)


def _brick_courses(gain: Gain, materials: npt.NDArray[np.uint8], canvas: Canvas, sides: Colour) -> None:
    """Mortar lines on façades along the road; `sides` holds left and right distance in 1/16 m (and 0)."""
    row, column = np.nonzero(materials == BRICK)
    camera = canvas.camera
    offset = column * 2 + 1 - camera.centre
    reach = np.where(offset < 0, -sides[0] / 16, sides[1] / 16)
    depth = camera.focal * reach / np.where(np.abs(offset) < 4, 4.0, offset)
    depth = np.minimum(np.abs(depth), 400.0)
    height = camera.height - (row * 2 + 1 - camera.horizon) * (depth / camera.focal)
    course = np.floor(height * 4 + 400).astype(np.int64)
    joint = np.floor(height * 20 + 2000).astype(np.int64) % 5 == 0
    brick = np.floor(depth * 2 + 0.5 * (course % 2)).astype(np.int64)
    upright = np.floor((depth * 2 + 0.5 * (course % 2)) * 8).astype(np.int64) % 8 == 0
    shade = ((brick * 7919 + course * 104729) % 31) - 15
    pixel = depth * 2 / camera.focal
    fade = np.minimum(1.0, 0.035 / pixel)
    values = np.where(joint | upright, 30, shade)
    gain[row, column] += (values * fade).astype(np.int32)


def _average(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """2H×2W×4 to H×W×3 by exact means of 2×2 pixels."""
    wide = pixels[0::2, :, :3].astype(np.uint16) + pixels[1::2, :, :3]
    return ((wide[:, 0::2] + wide[:, 1::2] + 2) >> 2).astype(np.int32)


def _blur(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """One 1-2-1 pass each way, edges repeated."""
    wide = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.uint16)
    down = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    both: npt.NDArray[np.uint16] = (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:] + 8) >> 4
    return both.astype(np.uint8)


def _shading(canvas: Canvas, lens: Lens) -> npt.NDArray[np.int32]:
    """Vignette as H×W factors in 1/256."""
    y = np.abs(np.arange(canvas.height) * 512 // canvas.height - 256)[:, None]
    x = np.abs(np.arange(canvas.width) * 512 // canvas.width - 256)[None, :]
    result: Gain = (256 - (((y * y + x * x) >> 8) * lens.vignette >> 8)).astype(np.int32)
    return result


def finish(canvas: Canvas, lens: Lens, facades: tuple[float, float], dice: Dice) -> npt.NDArray[np.uint8]:
    """The H×W×3 uint8 BGR picture of a painted canvas.

    `facades`: distance of the left and right building line from the camera in metres, for the brickwork.
    """
    materials = np.ascontiguousarray(canvas.pixels[1::2, 1::2, 3])
    gain = _screen_noise(materials, dice)
    _ground_noise(gain, materials, canvas, dice)
    _brick_courses(gain, materials, canvas, (int(facades[0] * 16), int(facades[1] * 16), 0))
    gain += 256
    gain = (gain * _shading(canvas, lens)) >> 8
    picture = (_average(canvas.pixels) * gain[:, :, None]) >> 8
    count = canvas.height * canvas.width
    grain = dice.bytes(count).reshape(canvas.height, canvas.width).astype(np.int32)
    picture += (((grain * (2 * lens.noise + 1)) >> 8) - lens.noise)[:, :, None]
    tint = np.array(lens.tint, np.int32)
    picture = np.clip(((picture * tint) >> 8) + lens.lift, 0, 255)
    # a film-like curve in integers: middle tones come up, black and white stay
    result: npt.NDArray[np.uint8] = (picture + ((picture * (255 - picture) * 3) >> 11)).astype(np.uint8)
    for _ in range(lens.blur):
        result = _blur(result)
    return result


def stretch(lattice: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Bilinear enlargement, bit-exact."""
    enlarged = cv2.resize(lattice, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return np.asarray(enlarged, np.uint8)
