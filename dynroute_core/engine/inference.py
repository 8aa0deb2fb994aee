"""Fast inference: the network of `model.py` without what need not be computed.

Takes a trained `Segmenter`; gives the same logits, gates and labels. What differs: batch norm is folded into the
convolutions; a batch costs what its images cost and not their union; `labels` never holds full-size logits. `model.py`
is the specification: tests hold the two equal. How images are computed, and how many at a time, is a backend's business
(`backend.py`); this file checks, loops and assembles.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence, Set
from typing import get_args

import torch
from torch import Tensor

from dynroute_core.cell import CellGate, RouteFactors
from dynroute_core.engine import torch_backend
from dynroute_core.engine.backend import (
    Backend,
    BackendUnavailableError,
    BatchGates,
    ForcedRoute,
    Loader,
)
from dynroute_core.evaluate import BackendName
from dynroute_core.model import RoutingOutput, Segmentation, Segmenter, check_images
from dynroute_core.space import Cell, Route
from dynroute_core.system.machine import say_once

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
COMPILED = {"native": "cpu", "cuda": "cuda"}  # the compiled backends, each with the device it is for
AUTOMATIC = ("native",)  # those that auto takes; cuda once its kernels have run on a GPU (kernels/csrc/cuda/README.md)
MAX_CLASSES = 256  # of uint8 labels


class InferenceEngine:
    """A frozen, folded copy of `model`, on its device.

    dtype: of weights and activations; bfloat16 moves half the bytes. backend: "torch" runs anywhere; "native" and
    "cuda" are compiled for their device; "auto" takes the compiled one where it can, else torch, saying why once on
    standard error. The model is neither changed nor kept.

    Raises ValueError for another dtype or backend, BackendUnavailableError where the named backend cannot run.
    """

    def __init__(self, model: Segmenter, *, dtype: torch.dtype = torch.float32, backend: BackendName = "auto") -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype={dtype}: choose from {', '.join(str(known) for known in DTYPES)}.")
        self.dtype = dtype
        self.config, self._space = model.config, model.space
        self._backend = _choose(backend, model, dtype)

    def describe(self) -> str:
        """The backend, its dtype and what of the machine it uses: what records say of how they were evaluated."""
        return f"engine {self._backend.describe()}"

    @torch.inference_mode()
    def __call__(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> RoutingOutput:
        """As `Segmenter.forward` in evaluation: N×3×H×W BGR images, 0..255 → logits N×K×H×W and the gates.

        Logits are float32 (float64 from a float64 engine). Raises ValueError as the model does.
        """
        height, width = check_images(images)
        single = torch.float64 if self.dtype == torch.float64 else torch.float32
        logits = torch.empty(len(images), self.config.classes, height, width, dtype=single, device=images.device)
        gates = self._run_parts(self._backend.logits, images, logits, route, route_factors)
        return RoutingOutput(logits, gates, self.config)

    @torch.inference_mode()
    def segment(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> Segmentation:
        """Labels and gates in one go: the argmax of the logits, which are never held at full size."""
        height, width = check_images(images)
        if self.config.classes > MAX_CLASSES:
            raise ValueError(f"{self.config.classes} classes do not fit uint8 labels: take the argmax of the logits.")
        labels = torch.empty(len(images), height, width, dtype=torch.uint8, device=images.device)
        gates = self._run_parts(self._backend.labels, images, labels, route, route_factors)
        return Segmentation(labels, gates, self.config)

    def labels(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> Tensor:
        """Train ids N×H×W, uint8: `segment(...).labels`."""
        return self.segment(images, route=route, route_factors=route_factors).labels

    def _run_parts(
        self,
        run: Callable[[Tensor, Sequence[ForcedRoute] | None, Tensor], BatchGates],
        images: Tensor,
        out: Tensor,
        route: Route | Sequence[Route] | None,
        route_factors: RouteFactors,
    ) -> dict[Cell, CellGate]:
        """As many images at a time as the backend takes, into their part of `out`; the gates of the batch."""
        ways = self._force(route, route_factors, len(images))
        step = self._backend.at_a_time(*images.shape[-2:])
        parts = [slice(first, first + step) for first in range(0, len(images), step)]
        found = [run(images[part], None if ways is None else ways[part], out[part]) for part in parts]
        factors = torch.cat([gates.factors for gates in found])
        states = torch.cat([gates.states for gates in found])
        cells = self._space.cells
        widths = [len(self._space.paths(cell)) for cell in cells]
        return {
            cell: CellGate(part, state)
            for cell, part, state in zip(cells, factors.split(widths, dim=1), states.unbind(1), strict=True)
        }

    def _force(
        self, route: Route | Sequence[Route] | None, route_factors: RouteFactors, count: int
    ) -> list[ForcedRoute] | None:
        if route_factors not in get_args(RouteFactors):
            raise ValueError(f"route_factors={route_factors!r}: choose from {', '.join(get_args(RouteFactors))}.")
        if route is None:
            return None
        routes = [route] * count if isinstance(route, Set) else list(route)
        if len(routes) != count:
            raise ValueError(f"{len(routes)} routes for {count} images: give one for all, or one per image.")
        checked = {each: self._space.check_route(each) for each in set(routes)}
        paths = self._space.all_paths
        forced = {e: ForcedRoute(tuple(p in r for p in paths), route_factors) for e, r in checked.items()}
        return [forced[each] for each in routes]


def _choose(backend: BackendName, model: Segmenter, dtype: torch.dtype) -> Backend:
    if backend not in get_args(BackendName):
        raise ValueError(f"backend={backend!r}: choose from {', '.join(get_args(BackendName))}.")
    device = model.head.predictor.weight.device.type
    if backend == "torch":
        return torch_backend.load(model, dtype)
    if backend == "auto":
        compiled = next((name for name in AUTOMATIC if COMPILED[name] == device), None)
        try:
            if compiled is not None:
                return _loader(compiled)(model, dtype)
        except BackendUnavailableError as error:
            say_once(f"engine: plain torch instead of the {compiled} backend: {error}")
        return torch_backend.load(model, dtype)
    if COMPILED[backend] != device:
        raise BackendUnavailableError(
            f"backend={backend!r} runs on {COMPILED[backend]}, the model is on {device}: move the model, or give auto."
        )
    return _loader(backend)(model, dtype)


def _loader(name: str) -> Loader:
    """The `load` of a compiled backend's module, imported only now: it may need a compiler."""
    module = f"dynroute_core.engine.{name}_backend"
    try:
        load: Loader = importlib.import_module(module).load
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(f"{error.name} is not installed here. Give backend='torch'.") from error
    return load
