"""The whole network on a GPU as one CUDA graph per input size: no decision, no copy and no wait on the host in between.

Takes a `NetworkSpec` and batches of images; gives quarter-size logits, labels, and every cell's gate. A batch's images
route as they like. Not safe for two threads at once. On the CPU it needs the emulator (`cuda_ops.emulate`), and makes
no graph.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from dynroute_kernels.cpu.network import NetworkSpec
from dynroute_kernels.cuda.checks import DTYPES, check
from dynroute_kernels.cuda.operators import FORCED_GATES, FORCED_ONES, FREE
from dynroute_kernels.cuda.plan import OPERATORS, Plan, make_plan
from dynroute_kernels.cuda.weights import PackedNetwork

PLANS_KEPT = 4  # input sizes whose buffers and graph stay allocated


class CudaNetwork:
    """The network on `device`, maps and weights of `dtype` (bfloat16, or float32: without tensor cores).

    graph: replay a CUDA graph; False runs the same steps one by one. Raises ValueError for another dtype.
    """

    def __init__(self, spec: NetworkSpec, *, dtype: torch.dtype, device: torch.device, graph: bool = True) -> None:
        check(dtype in DTYPES, f"dtype={dtype}: give bfloat16 or float32.")
        self.network = PackedNetwork(spec, dtype, device)
        self.uses_graph = graph and device.type == "cuda"
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()

    def run(self, images: Tensor, route: Tensor | None = None, *, gate_factors: bool = False) -> Plan:
        """N×3×H×W images on the device, uint8 or float32 → the plan, whose `logits` (N×K×h/4×w/4, float32, of images
        padded to multiples of 32) and `gates` hold until the next run of this size.

        route: cells × N × 4, uint8, on the device or pinned: which of keep, up, down each cell may take; the factors
        are 1, or with gate_factors the gates'. Nothing is waited for, but for a size not seen lately: then buffers are
        made and the graph is captured.
        """
        plan = self._plan(images)
        plan.images.copy_(images, non_blocking=True)
        if route is not None:
            wanted = tuple(plan.route.shape)
            check(tuple(route.shape) == wanted, f"route of shape {tuple(route.shape)}: give {wanted}.")
            plan.route.copy_(route, non_blocking=True)
        plan.mode.fill_(FREE if route is None else FORCED_GATES if gate_factors else FORCED_ONES)
        plan.run()
        return plan

    def full_logits(self, plan: Plan) -> Tensor:
        """N×K×H×W, float32: enlarged by torch."""
        height, width = plan.images.shape[2:]
        large = F.interpolate(plan.logits, scale_factor=4, mode="bilinear", align_corners=False)
        return large[..., :height, :width]

    def labels(self, plan: Plan, out: Tensor | None = None) -> Tensor:
        """Train ids N×H×W, uint8, into `out` where one is given; full-size logits are never held."""
        images, _, height, width = plan.images.shape
        if out is None:
            out = torch.empty(images, height, width, dtype=torch.uint8, device=plan.images.device)
        OPERATORS.labels(plan.logits, out)
        return out

    def gates(self, plan: Plan) -> Tensor:
        """cells × N × 4: a copy of every cell's record, the initial one's first."""
        return plan.gates[:-1].clone()

    def _plan(self, images: Tensor) -> Plan:
        key = (*images.shape, images.dtype)
        if key not in self._plans:
            if len(self._plans) >= PLANS_KEPT:
                self._plans.popitem(last=False)
            plan = make_plan(self.network, images)
            if self.uses_graph:
                plan.capture()
            self._plans[key] = plan
        self._plans.move_to_end(key)
        return self._plans[key]
