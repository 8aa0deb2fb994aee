"""One operation of a compiled network by itself: what `benchmarks/operations.py` times and tests compare.

The caller fills the maps that an operation reads, runs it, and reads the maps that it wrote. Maps are 1×C'×H×W: `x` of
a cell, `down` and `up` what comes to it from the finer and the coarser scale, the latter at the coarser scale's size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from dynroute_kernels.cpu.network import PATH_CODES, NativeNetwork, NetworkSpec

MapName = Literal["x", "down", "up"]
PathName = Literal["keep", "up", "down"]
MAP_CODES = {"x": 0, "down": 1, "up": 2}
STRIDE = 4  # of scale 0


class Alone:
    """The operations of `network`, made of `spec`, at images of height×width, multiples of 32. Not for several threads
    at once. Raises ValueError for a size, cell or map that is not there."""

    def __init__(self, network: NativeNetwork, spec: NetworkSpec, height: int, width: int) -> None:
        if height % 32 or width % 32 or min(height, width) < 32:
            raise ValueError(f"{height}×{width}: give multiples of 32.")
        self._network, self._spec, self._size = network, spec, (height, width)
        self.dtype = network.dtype
        network.call("plan", height, width, torch.get_num_threads())

    def fill(self, name: MapName, scale: int, values: Tensor) -> None:
        """Sets a map, rounded to the network's dtype."""
        shape = self._shape(name, scale)
        if tuple(values.shape) != (1, shape[2], *shape[:2]):
            raise ValueError(f"{name} at scale {scale} of shape {tuple(values.shape)}: give 1×C'×H×W for {shape}.")
        rows = values[0].permute(1, 2, 0).to(self.dtype).contiguous()
        self._network.call("map", MAP_CODES[name], scale, True, rows.data_ptr())

    def read(self, name: MapName, scale: int) -> Tensor:
        """A map, in the network's dtype."""
        rows = torch.empty(self._shape(name, scale), dtype=self.dtype, device="cpu")
        self._network.call("map", MAP_CODES[name], scale, False, rows.data_ptr())
        return rows.permute(2, 0, 1)[None]

    def stem(self, image: Tensor) -> None:
        """image: 3×H×W, uint8 or float32, contiguous → x of scale 0."""
        known = image.dtype in (torch.uint8, torch.float32) and image.is_contiguous()
        if tuple(image.shape) != (3, *self._size) or not known:
            raise ValueError(f"image of shape {tuple(image.shape)}, {image.dtype}: give 3×{self._size}.")
        self._network.call("stem", image.data_ptr(), image.dtype == torch.uint8, *self._size)

    def arrive(self, cell: int, came: Collection[PathName], *, gated: bool) -> Tensor:
        """Sums into x what came (keep: x itself) at the cell of this number; factors per path, 1 without the gate."""
        self._cell(cell)
        factors = torch.empty(len(self._spec.cells[cell].paths), dtype=torch.float32, device="cpu")
        self._network.call("arrive", cell, sum(1 << PATH_CODES[path] for path in came), gated, factors.data_ptr())
        return factors

    def cell(self, cell: int, factors: Mapping[PathName, float]) -> None:
        """x → keep·h in x; where their factors are above 0, up·… in `up` of the finer, down·… in `down` of the coarser
        scale."""
        self._cell(cell)
        given = (ctypes.c_float * len(PATH_CODES))(*(factors.get(path, 0.0) for path in ("keep", "up", "down")))
        self._network.call("cell", cell, given)

    def send(self, cell: int, path: PathName, factor: float) -> None:
        """What `up` or `down` sends of h in x."""
        self._cell(cell)
        self._network.call("send", cell, PATH_CODES[path], factor)

    def head(self, out: Tensor | None = None) -> None:
        """x of every scale → logits K×h×w at a quarter of the size, float32, copied to `out` where given."""
        if out is not None and not (out.dtype == torch.float32 and tuple(out.shape) == self._quarter):
            raise ValueError(f"out of shape {tuple(out.shape)}, {out.dtype}: give {self._quarter}, torch.float32.")
        self._network.call("predict", None if out is None else out.data_ptr())

    def give(self, quarter: Tensor) -> None:
        """Sets the logits that `enlarge` reads, K×h×w, float32, contiguous."""
        known = quarter.dtype == torch.float32 and quarter.is_contiguous()
        if not known or tuple(quarter.shape) != self._quarter:
            raise ValueError(f"logits of shape {tuple(quarter.shape)}, {quarter.dtype}: give {self._quarter}.")
        self._network.call("enlarge", quarter.data_ptr(), *self._size, None, None)

    def enlarge(self, out: Tensor) -> None:
        """Logits ×4 to K×H×W float32, or their argmax to H×W uint8."""
        if tuple(out.shape) == self._size and out.dtype == torch.uint8:
            self._network.call("enlarge", None, *self._size, None, out.data_ptr())
        elif tuple(out.shape) == (self._spec.classes, *self._size) and out.dtype == torch.float32:
            self._network.call("enlarge", None, *self._size, out.data_ptr(), None)
        else:
            raise ValueError(f"out of shape {tuple(out.shape)}, {out.dtype}: give K×H×W float32 or H×W uint8.")

    @property
    def _quarter(self) -> tuple[int, int, int]:
        return (self._spec.classes, self._size[0] // STRIDE, self._size[1] // STRIDE)

    def _cell(self, number: int) -> None:
        if not 0 <= number < len(self._spec.cells):
            raise ValueError(f"cell {number}: the network has {len(self._spec.cells)}.")

    def _shape(self, name: MapName, scale: int) -> tuple[int, int, int]:
        """Rows, columns, channels."""
        height, width = (side // STRIDE >> scale >> (name == "up") for side in self._size)
        return height, width, self._spec.channels << scale
