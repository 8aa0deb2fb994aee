"""Objects as Cityscapes' polygon files hold them: one polygon an object, each drawn over those before it.

The official tools number instances by counting polygons, so an object that falls into parts must stay one polygon: a
line joins the parts, and what the line covers is drawn again. Leaves out label images: they are drawn part by part.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dynroute_core.data.labels import CITYSCAPES_LABELS, Label

Outline = tuple[str, list[list[int]]]
"""Label and the polygon's points, x and y in pixels."""

_NAMES = {label.label_id: label.name for label in CITYSCAPES_LABELS}


def outlines(label: Label, parts: Sequence[npt.NDArray[np.int32]], below: npt.NDArray[np.uint16]) -> list[Outline]:
    """The polygons of an object whose parts have these contours (each N×1×2 pixels), in drawing order.

    below: H×W instance ids of what was drawn before. Where the joining line covers another instance, that pixel becomes
    a group of its class: no polygon can give it back to its instance.
    """
    loops: list[list[list[int]]] = [contour[:, 0].tolist() for contour in parts]
    if not label.has_instances or len(loops) == 1:
        return [_outline(label.name, loop) for loop in loops]
    whole = _joined(loops)
    covered = _drawn([whole], below.shape) & ~_drawn(loops, below.shape)
    repairs = [_outline(_name(int(below[y, x])), [[int(x), int(y)]]) for y, x in zip(*np.nonzero(covered), strict=True)]
    return [_outline(label.name, whole), *repairs]


def _outline(name: str, loop: list[list[int]]) -> Outline:
    """With three points at least: the official tools refuse a single one."""
    return name, loop + loop[-1:] * (3 - len(loop))


def _joined(loops: Sequence[list[list[int]]]) -> list[list[int]]:
    """One loop through all of them, there and back between nearest corners.

    The lines run along rows and columns, where every drawing program meets the same pixels.
    """
    whole = loops[0]
    for loop in loops[1:]:
        apart = np.abs(np.array(whole)[:, None] - np.array(loop)[None]).sum(axis=2)
        leave, enter = divmod(int(apart.argmin()), len(loop))
        bend = [loop[enter][0], whole[leave][1]]
        whole = [
            *whole[: leave + 1], bend, *loop[enter:], *loop[: enter + 1], bend, *whole[leave:],
        ]  # fmt: skip
    return whole


def _drawn(loops: Sequence[list[list[int]]], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, np.uint8)
    for loop in loops:
        cv2.fillPoly(mask, [np.array(loop, np.int32)], (1,))
    return mask.astype(bool)


def _name(instance: int) -> str:
    return f"{_NAMES[instance // 1000]}group" if instance >= 1000 else _NAMES[instance]
