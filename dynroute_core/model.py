"""The network of the paper: a routing space of cells whose soft conditional gates choose, per image, which paths run.

Section map (paper → here): 3.1 routing space → `space.py`; 3.2 cell operation and scale transforms, 3.3 soft
conditional gate → `cell.py`; 3.4 budget → `cost.py`, `losses.py`; 4.1 stem and head → `Stem`, `Head`. Takes images,
gives logits and factors; knows no losses and no data.

Shapes: N images; C' = C·2^k channels, H×W positions at scale k; P paths of a cell (keep, up, down); K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynroute_core.cell import GATE_BIAS, Arrived, CellGate, CellModule, Forced, Gate, RouteFactors, Sent, double_size
from dynroute_core.cost import Accounting, Cost, cost_table, routing_cost
from dynroute_core.operations import ConvNorm, depthwise
from dynroute_core.space import (
    COARSEST_STRIDE,
    FINEST_STRIDE,
    INITIAL,
    OPEN_THRESHOLD,
    SCALES,
    Cell,
    ModelConfig,
    Route,
    RoutingSpace,
    StemKind,
)

PIXEL_MEAN_BGR = (103.53, 116.28, 123.675)


class Stem(nn.Sequential):
    """Images N×3×H×W → N×C×H/4×W/4. The first convolution has no padding, as released: weights depend on it."""

    def __init__(self, channels: int, middle: int, kind: StemKind) -> None:
        first = ConvNorm(3, middle, 3, stride=2, padding=0, relu=True)
        if kind == "dense":
            super().__init__(
                first, ConvNorm(middle, middle, 3, relu=True), ConvNorm(middle, channels, 3, stride=2, relu=True)
            )
            return
        super().__init__(
            first,
            nn.Sequential(depthwise(middle, 3), ConvNorm(middle, middle, relu=True)),
            nn.Sequential(depthwise(middle, 3, stride=2), ConvNorm(middle, channels, relu=True)),
        )


class Head(nn.Module):
    """The last layer's keeps f0..f3 → logits N×K×H×W at scale 0: coarse to fine, halving channels and doubling size.

    scales: how many it goes through; a fixed network's begins at the coarsest that its last layer sends.
    """

    def __init__(self, channels: int, classes: int, scales: int = SCALES) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(
            ConvNorm(channels * 2**scale, channels * 2 ** (scale - 1), relu=True) for scale in range(1, scales)
        )
        self.fuse = ConvNorm(channels, channels, relu=True)
        self.predictor = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, features: Sequence[Tensor | None]) -> Tensor:
        """features: one per scale, finest first; None, never the last, where nothing arrives."""
        *finer, y = features
        assert y is not None
        for scale in reversed(range(len(finer))):
            y, arrived = double_size(self.narrow[scale](y)), finer[scale]
            y = y if arrived is None else y + arrived
        logits: Tensor = self.predictor(self.fuse(y))
        return logits


class Routing:
    """What the gates of N images say: costs and routes. For dataclasses that hold gates and the network's config."""

    gates: Mapping[Cell, CellGate]
    config: ModelConfig

    def cost(self, *, height: int, width: int, accounting: Accounting) -> Cost:
        """MACs per image at a nominal input size, e.g. 1024×2048, in the "paper" or the "repo" accounting."""
        return routing_cost(cost_table(self.config, height=height, width=width, accounting=accounting), self.gates)

    def routes(self) -> list[Route]:
        """Each image's route: the paths through which it was sent (a closed cell's identity keep among them)."""
        space = RoutingSpace.of(self.config)
        rows = {cell: gate.factors.detach().cpu() > OPEN_THRESHOLD for cell, gate in self.gates.items()}
        return [
            frozenset(
                (cell, path)
                for cell, opened in rows.items()
                for path, sent in zip(space.paths(cell), opened[image].tolist(), strict=True)
                if sent
            )
            for image in range(len(next(iter(rows.values()))))
        ]


@dataclass(frozen=True)
class RoutingOutput(Routing):
    """What a forward pass gives: logits N×K×H×W at the images' size, and every cell's gate."""

    logits: Tensor
    gates: Mapping[Cell, CellGate]
    config: ModelConfig


@dataclass(frozen=True)
class Segmentation(Routing):
    """Labels and what they cost. labels: N×H×W train ids; gates, costs and routes as in `RoutingOutput`."""

    labels: Tensor
    gates: Mapping[Cell, CellGate]
    config: ModelConfig


class Segmenter(nn.Module):
    """The whole network. `forward` takes BGR images 0..255 of any height and width.

    Training computes every cell for every image (batch norm sees all; nothing waits for the device). Evaluation runs,
    image by image, open cells and open paths only. Both apply the same factors. `drop_path` is the last layer's
    probability at this moment; training sets it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.space = RoutingSpace.of(config)
        self.drop_path = 0.0
        with float32_parameters():
            self.stem = Stem(config.channels, config.stem_channels, config.stem)
            self.cells = nn.ModuleDict(
                {
                    module_name(cell): CellModule(
                        self.space.channels_at(cell.scale),
                        self.space.paths(cell),
                        config,
                        drop_share=(cell.layer + 1) / config.layers,
                    )
                    for cell in self.space.cells
                }
            )
            self.head = Head(config.channels, config.classes, self.space.head_scales)
        device = self.head.predictor.weight.device  # a module's, as torch chooses it: the default one, or meta
        mean = torch.tensor(PIXEL_MEAN_BGR, dtype=torch.float64, device=device)  # float32 would stay rounded
        self.register_buffer("pixel_mean", mean.view(1, 3, 1, 1), persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Kaiming normal (fan-in, ReLU) for every convolution; biases 0, the gates' 1.5; batch norm 1 and 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Gate):
                assert module.factors.bias is not None
                nn.init.constant_(module.factors.bias, GATE_BIAS)

    def cell(self, cell: Cell) -> CellModule:
        module = self.cells[module_name(cell)]
        assert isinstance(module, CellModule)
        return module

    def forward(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> RoutingOutput:
        """N×3×H×W BGR images, 0..255, any dtype → logits N×K×H×W and the gates.

        route: paths to force open, for all images or one per image; all others are closed, and a cell that the route
        leaves out emits nothing. Their factors are 1, or with route_factors="gate" what the gates compute.
        Raises ValueError for other shapes, and for routes this network does not have.
        """
        height, width = check_images(images)
        quarter, gates = self.quarter_logits(images, route=route, route_factors=route_factors)
        logits = F.interpolate(quarter, scale_factor=FINEST_STRIDE, mode="bilinear", align_corners=False)
        return RoutingOutput(logits[..., :height, :width], gates, self.config)

    def quarter_logits(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> tuple[Tensor, dict[Cell, CellGate]]:
        """As `forward`, before the enlargement: logits N×K×h/4×w/4 of the images padded to h×w, multiples of 32."""
        if route_factors not in get_args(RouteFactors):
            raise ValueError(f"route_factors={route_factors!r}: choose from {', '.join(get_args(RouteFactors))}.")
        forced = {} if route is None else self._force(route, route_factors, images)
        features, gates = self._walk(self.stem(self._normalise_and_pad(images)), forced)
        return self.head(features), gates

    def segment(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> Segmentation:
        """Labels and gates in one go: the argmax of the logits of `forward`."""
        output = self(images, route=route, route_factors=route_factors)
        return Segmentation(output.logits.argmax(1), output.gates, self.config)

    def features(self, images: Tensor) -> list[Tensor | None]:
        """What the head reads of the images: the last layer's keeps, finest first, None where nothing arrived."""
        return self._walk(self.stem(self._normalise_and_pad(images)), {})[0]

    def _normalise_and_pad(self, images: Tensor) -> Tensor:
        dtype = self.head.predictor.weight.dtype
        mean = self.get_buffer("pixel_mean").to(dtype)
        height, width = images.shape[-2:]
        bottom, right = -height % COARSEST_STRIDE, -width % COARSEST_STRIDE
        return F.pad(images.to(dtype) - mean, (0, right, 0, bottom))

    def _walk(self, stem: Tensor, forced: Mapping[Cell, Forced]) -> tuple[list[Tensor | None], dict[Cell, CellGate]]:
        """Visits the cells in order; gives the head's features and every cell's gate."""
        nobody = torch.zeros(len(stem), dtype=torch.bool, device=stem.device)
        arrived = {cell: Arrived(None, nobody) for cell in self.space.cells}
        arrived[INITIAL].add(Sent(stem, ~nobody))
        last = [Arrived(None, nobody) for _ in range(self.space.head_scales)]
        gates: dict[Cell, CellGate] = {}
        for cell in self.space.cells:
            here = arrived.pop(cell)
            x = self._zeros(stem, cell.scale) if here.features is None else here.features
            sent, gates[cell] = self.cell(cell)(
                x, here.images, forced=forced.get(cell), drop_path=self.drop_path if self.training else 0.0
            )
            for path, what in sent.items():
                target = self.space.target(cell, path)
                (last[cell.scale] if target is None else arrived[target]).add(what)
        features = [slot.features for slot in last]
        if features[-1] is None:  # the head begins here, be it with zeros
            features[-1] = self._zeros(stem, len(features) - 1)
        return features, gates

    def _zeros(self, like: Tensor, scale: int) -> Tensor:
        n, _, height, width = like.shape
        return like.new_zeros(n, self.space.channels_at(scale), height >> scale, width >> scale)

    def _force(self, route: Route | Sequence[Route], factors: RouteFactors, images: Tensor) -> dict[Cell, Forced]:
        routes = [frozenset(route)] * len(images) if isinstance(route, Set) else list(route)
        if len(routes) != len(images):
            raise ValueError(f"{len(routes)} routes for {len(images)} images: give one for all, or one per image.")
        for each in routes:
            self.space.check_route(each)

        def mask(cell: Cell) -> Tensor:
            opened = [[(cell, path) in each for path in self.space.paths(cell)] for each in routes]
            return torch.tensor(opened, dtype=torch.bool, device=images.device)

        return {cell: Forced(mask(cell), factors) for cell in self.space.cells}


@contextmanager
def float32_parameters() -> Iterator[None]:
    """Modules made meanwhile are float32 whatever the process's default is: libraries change it on import, and a run's
    numbers must not follow."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def module_name(cell: Cell) -> str:
    """The cell's name among the parameters: `init`, or `3_2` for layer 3, scale 2."""
    return str(cell).replace(".", "_")


def check_images(images: Tensor) -> tuple[int, int]:
    """(height, width) of a batch of images; raises ValueError where it is not N×3×H×W with every size ≥ 1."""
    if images.dim() != 4 or images.shape[1] != 3 or math.prod(images.shape) == 0:
        raise ValueError(
            f"images of shape {tuple(images.shape)}: give N×3×H×W, BGR, 0..255, with at least one image and pixel "
            "(one image: image[None])."
        )
    return images.shape[-2], images.shape[-1]
