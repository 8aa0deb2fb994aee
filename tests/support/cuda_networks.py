"""Small networks as the CUDA kernels take them."""

from __future__ import annotations

import torch

from dynroute_core import Route, Segmenter
from dynroute_core.engine.backend import folded
from dynroute_core.engine.network_spec import network_spec


def network_of(model: Segmenter, device: torch.device, dtype: torch.dtype = torch.float32, *, graph: bool = True):
    from dynroute_kernels.cuda.network import CudaNetwork

    return CudaNetwork(network_spec(folded(model, torch.float32)), dtype=dtype, device=device, graph=graph)


def masks(model: Segmenter, routes: list[Route]) -> torch.Tensor:
    """cells × N × 4, as `CudaNetwork.run` takes routes."""
    rows = [
        [[(cell, path) in route for path in ("keep", "up", "down")] + [False] for route in routes]
        for cell in model.space.cells
    ]
    return torch.tensor(rows, dtype=torch.uint8)
