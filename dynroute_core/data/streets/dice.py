"""Random numbers and tileable noise for the street scenes, the same bits on every machine.

Holds `Dice` (a thin reader of PCG64's raw 64-bit words, whose stream numpy guarantees; the distributions of
`numpy.random.Generator` carry no such promise) and `noise_tile` (value noise in integer arithmetic).
Leaves out every distribution that needs a transcendental function.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
TILE = 256


class Dice:
    """A stream of random choices fixed by its integer key (each part >= 0)."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))
        self._pool: list[int] = []

    def raw(self) -> int:
        """The next 64-bit word."""
        if not self._pool:
            # a block at a time: one call into numpy per number would dominate the planning of a scene
            self._pool = [int(word) for word in self._bits.random_raw(32)][::-1]
        return self._pool.pop()

    def child(self) -> Dice:
        """An independent stream, so that one object's draws cannot shift another's."""
        return Dice(self.raw())

    def unit(self) -> float:
        """Uniform in [0, 1), a multiple of 2**-53."""
        return (self.raw() >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def below(self, count: int) -> int:
        """Uniform integer in [0, count)."""
        return self.raw() % count

    def between(self, low: int, high: int) -> int:
        """Uniform integer in [low, high], both ends included."""
        return low + self.raw() % (high - low + 1)

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[tuple[T, float]]) -> T:
        """One of `items`, each given with its weight."""
        mark = self.unit() * sum(weight for _, weight in items)
        for item, weight in items:
            mark -= weight
            if mark < 0:
                return item
        return items[-1][0]

    def bytes(self, count: int) -> npt.NDArray[np.uint8]:
        """`count` uniform bytes, little-endian order of the words on every machine."""
        words = np.asarray(self._bits.random_raw((count + 7) // 8), dtype="<u8")
        return words.view(np.uint8)[:count]


def _octave(dice: Dice, cells: int) -> npt.NDArray[np.int32]:
    """TILE×TILE periodic bilinear value noise with `cells` lattice points a side, in [-128, 127]."""
    lattice = dice.bytes(cells * cells).reshape(cells, cells).astype(np.int32) - 128
    step = TILE // cells
    place = np.arange(TILE)
    low, part = place // step, (place % step).astype(np.int32)
    high = (low + 1) % cells
    rows = lattice[low] * (step - part)[:, None] + lattice[high] * part[:, None]
    both = rows[:, low] * (step - part)[None, :] + rows[:, high] * part[None, :]
    return (both // (step * step)).astype(np.int32)


@lru_cache(maxsize=8)
def noise_tile(kind: int, octaves: tuple[int, ...]) -> npt.NDArray[np.int16]:
    """TILE×TILE periodic noise in about [-128, 127]; `octaves` are lattice sizes (powers of two <= TILE).

    Each octave weighs half the one before it. The tile is shared: do not write to it.
    """
    total = np.zeros((TILE, TILE), np.int32)
    weight, weights = 1 << (len(octaves) - 1), 0
    for place, cells in enumerate(octaves):
        total += _octave(Dice(977, kind, place), cells) * weight
        weights += weight
        weight >>= 1
    tile: npt.NDArray[np.int16] = (total // weights).astype(np.int16)
    tile.setflags(write=False)
    return tile
