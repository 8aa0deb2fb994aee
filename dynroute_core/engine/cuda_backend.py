"""The CUDA backend of the engine: shows a `Segmenter` to `CudaNetwork`, and its gates to the engine.

Needs a CUDA device, nvcc (the kernels are built on first use) and cells of a separable convolution plus skip, as every
row has. The kernels have not run on a GPU yet (kernels/csrc/cuda/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynroute_core.engine.backend import BackendUnavailableError, BatchGates, ForcedRoute
from dynroute_core.engine.network_spec import OPERATIONS, network_spec
from dynroute_core.model import Segmenter
from dynroute_core.space import ModelConfig, PathName, RoutingSpace
from dynroute_kernels.cache import BuildError
from dynroute_kernels.cuda.build import gpu_library
from dynroute_kernels.cuda.network import CudaNetwork
from dynroute_kernels.cuda.plan import Plan

SLOTS: dict[PathName, int] = {"keep": 0, "up": 1, "down": 2}  # of a gate record
STATE = 3
RECORD = 4
DTYPES = (torch.bfloat16, torch.float32)


def load(network: Segmenter, dtype: torch.dtype) -> CudaBackend:
    """A backend for this network on its GPU; raises BackendUnavailableError where it cannot run."""
    lack = missing(network.config, dtype)
    device = network.head.predictor.weight.device
    if lack is None and device.type != "cuda":
        lack = f"the model is on {device}: move it to a CUDA device."
    if lack is not None:
        raise BackendUnavailableError(f"the cuda backend cannot run: {lack} Give backend='torch'.")
    try:
        gpu_library()
    except BuildError as error:
        raise BackendUnavailableError(f"the cuda backend cannot be built: {error} Give backend='torch'.") from error
    return CudaBackend(CudaNetwork(network_spec(network), dtype=dtype, device=device), network.space)


def missing(config: ModelConfig, dtype: torch.dtype) -> str | None:
    """What the kernels lack for such a network, wherever it runs; None where they have everything."""
    if dtype not in DTYPES:
        return f"there are kernels for bfloat16 and float32, not {dtype}."
    if sorted(config.operations) != sorted(OPERATIONS):
        return f"there are kernels for cells of {' + '.join(OPERATIONS)}, not {' + '.join(config.operations)}."
    if config.stem != "separable":
        return f"there are kernels for the separable stem, not stem={config.stem!r}."
    return None


class CudaBackend:
    """Runs one image at a time for the engine; `network` runs whole batches."""

    def __init__(self, network: CudaNetwork, space: RoutingSpace) -> None:
        self.network, self._space = network, space
        cells = {cell: index for index, cell in enumerate(space.cells)}
        places = [cells[cell] * RECORD + SLOTS[path] for cell, path in space.all_paths]
        self._places = torch.tensor(places, dtype=torch.int64, device=network.network.device)
        self._routes: dict[tuple[bool, ...], Tensor] = {}

    def describe(self) -> str:
        device = self.network.network.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "emulated on the CPU"
        return f"cuda {str(self.network.network.dtype).removeprefix('torch.')}, {name}"

    def at_a_time(self, height: int, width: int) -> int:
        return 1

    def logits(self, images: Tensor, forced: Sequence[ForcedRoute] | None, out: Tensor) -> BatchGates:
        plan = self._run(images, forced)
        out.copy_(self.network.full_logits(plan))
        return self._gates(plan)

    def labels(self, images: Tensor, forced: Sequence[ForcedRoute] | None, out: Tensor) -> BatchGates:
        plan = self._run(images, forced)
        self.network.labels(plan, out)
        return self._gates(plan)

    def _run(self, images: Tensor, forced: Sequence[ForcedRoute] | None) -> Plan:
        images = images if images.dtype == torch.uint8 else images.float()
        images = images.contiguous()
        if forced is None:
            return self.network.run(images)
        return self.network.run(images, self._route(forced[0]), gate_factors=forced[0].factors == "gate")

    def _route(self, forced: ForcedRoute) -> Tensor:
        """cells × 1 × 4 on the device; each route is sent there once."""
        if forced.opened not in self._routes:
            row = torch.zeros(len(self._space.cells) * RECORD, dtype=torch.uint8, device=self._places.device)
            row[self._places] = torch.tensor(forced.opened, dtype=torch.uint8, device=row.device)
            self._routes[forced.opened] = row.view(-1, 1, RECORD)
        return self._routes[forced.opened]

    def _gates(self, plan: Plan) -> BatchGates:
        records = self.network.gates(plan)[:, 0]
        return BatchGates(records.flatten()[self._places][None], records[None, :, STATE].to(torch.uint8))
