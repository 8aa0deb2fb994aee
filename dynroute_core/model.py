"""The network of the paper: a routing space of cells whose soft conditional gates choose, per image, which paths run.

Section map (paper → here): 3.1 routing space → `space.py`; 3.2 cell operation, scale transforms → `Cell`;
3.3 soft conditional gate → `Gate`, closing rule → `CellModule._route`; 3.4 budget → `cost.py`, `losses.py`;
4.1 stem and head → `Stem`, `Head`. Takes images, gives logits and factors; knows no losses and no data.

Shapes: N images; C' = C·2^k channels, H×W positions at scale k; P paths of a cell (keep, up, down); K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynroute_core.cost import CLOSED, DEAD, OPEN, Accounting, CellGate, Cost, cost_table, routing_cost
from dynroute_core.operations import ConvNorm, build_operation, depthwise
from dynroute_core.space import (
    COARSEST_STRIDE,
    OPEN_THRESHOLD,
    SCALES,
    SMALL_GATE_SHRINK,
    Cell,
    ModelConfig,
    PathName,
    Route,
    RoutingSpace,
    StemKind,
)

PIXEL_MEAN_BGR = (103.53, 116.28, 123.675)
GATE_BIAS = 1.5  # tanh(1.5) ≈ 0.905: every path starts open
RouteFactors = Literal["one", "gate"]


def double_size(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def shrink(x: Tensor) -> Tensor:
    """Bilinear to a quarter of each side, sampled at exactly 4 positions a step as released; at least 1×1."""
    if min(x.shape[-2:]) >= SMALL_GATE_SHRINK:
        return F.interpolate(x, scale_factor=1 / SMALL_GATE_SHRINK, mode="bilinear", align_corners=False)
    size = [max(side // SMALL_GATE_SHRINK, 1) for side in x.shape[-2:]]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


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


class Gate(nn.Module):
    """The soft conditional gate: N×C'×H×W → factors N×P = max(0, tanh(w · pool(ReLU(BN(conv(x)))) + b))."""

    def __init__(self, channels: int, paths: int, *, small: bool) -> None:
        super().__init__()
        self.small = small
        self.reduce = ConvNorm(channels, channels // 2, relu=True)
        self.factors = nn.Conv2d(channels // 2, paths, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.small:
            x = shrink(x)
        pooled = self.reduce(x).mean(dim=(2, 3), keepdim=True)
        return torch.tanh(self.factors(pooled)).clamp(min=0).flatten(1)


class CellModule(nn.Module):
    """One cell: h = Σ operations(x); keep = α·ReLU(h), up = α·resize(BN-ReLU-conv(ReLU(h))), down likewise, strided."""

    def __init__(self, channels: int, paths: Sequence[PathName], config: ModelConfig, *, drop_share: float) -> None:
        super().__init__()
        self.paths = tuple(paths)
        self.drop_share = drop_share
        self.operations = nn.ModuleList(build_operation(name, channels) for name in config.operations)
        self.may_drop = tuple(name != "skip_connect" for name in config.operations)
        self.up = ConvNorm(channels, channels // 2, relu=True) if "up" in paths else None
        self.down = ConvNorm(channels, channels * 2, stride=2, relu=True) if "down" in paths else None
        small = config.gate == "small"
        self.gate = None if config.gate == "none" else Gate(channels, len(self.paths), small=small)

    def gate_factors(self, x: Tensor) -> Tensor:
        return x.new_ones(len(x), len(self.paths)) if self.gate is None else self.gate(x)

    def hidden(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        """ReLU(h), what every path starts from. Whole operations are dropped per image, in training, by `drop_path`."""
        total: Tensor | None = None
        for operation, may_drop in zip(self.operations, self.may_drop, strict=True):
            y = operation(x)
            if may_drop and drop_path > 0:
                kept = 1 - drop_path
                y = y * (torch.rand(len(x), 1, 1, 1, device=x.device) < kept).to(y.dtype) / kept
            total = y if total is None else total + y
        assert total is not None
        return F.relu(total)

    def path_output(self, path: PathName, h: Tensor) -> Tensor:
        if path == "keep":
            return h
        if path == "up":
            assert self.up is not None
            return double_size(self.up(h))
        assert self.down is not None
        return self.down(h)


class Head(nn.Module):
    """The last layer's keeps f0..f3 → logits N×K×4H×4W: coarse to fine, halving channels and doubling size."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(
            ConvNorm(channels * 2**scale, channels * 2 ** (scale - 1), relu=True) for scale in range(1, SCALES)
        )
        self.fuse = ConvNorm(channels, channels, relu=True)
        self.predictor = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        y = features[-1]
        for scale in range(SCALES - 1, 0, -1):
            y = double_size(self.narrow[scale - 1](y)) + features[scale - 1]
        logits = self.predictor(self.fuse(y))
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class RoutingOutput:
    """What a forward pass gives: logits N×K×H×W at the images' size, and every cell's gate."""

    logits: Tensor
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
            for image in range(len(self.logits))
        ]


@dataclass
class Arrived:
    """What reaches a cell. features: N×C'×H×W, None while only zeros came; reached: N, which images anything reached."""

    features: Tensor | None
    reached: Tensor

    def add(self, features: Tensor | None, sent: Tensor) -> None:
        if features is not None:
            self.features = features if self.features is None else self.features + features
        self.reached = self.reached | sent


class Segmenter(nn.Module):
    """The whole network. `forward` takes BGR images 0..255 of any height and width.

    Training computes every cell for every image (batch norm sees all; nothing waits for the device). Evaluation runs, image
    by image, open cells and open paths only. Both apply the same factors. `drop_path` is the probability of section 4 of
    the recipe at this moment; training sets it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.space = RoutingSpace.of(config)
        self.drop_path = 0.0
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
        self.head = Head(config.channels, config.classes)
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN_BGR).view(1, 3, 1, 1), persistent=False)
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

        route: paths to force open, for all images or one per image; all others are closed, and a cell that the route leaves
        out emits nothing. Their factors are 1, or with route_factors="gate" what the gates compute.
        Raises ValueError for other shapes, and for routes this network does not have.
        """
        height, width = check_images(images)
        forced = None if route is None else self._route_masks(route, images)
        padded = self._normalise_and_pad(images)
        features, gates = self._walk(self.stem(padded), forced, route_factors)
        logits = self.head(features)[..., :height, :width]
        return RoutingOutput(logits, gates, self.config)

    def _normalise_and_pad(self, images: Tensor) -> Tensor:
        dtype = self.head.predictor.weight.dtype
        mean = self.get_buffer("pixel_mean").to(dtype)
        height, width = images.shape[-2:]
        bottom, right = -height % COARSEST_STRIDE, -width % COARSEST_STRIDE
        return F.pad(images.to(dtype) - mean, (0, right, 0, bottom))

    def _walk(
        self, stem: Tensor, forced: Mapping[Cell, Tensor] | None, route_factors: RouteFactors
    ) -> tuple[list[Tensor], dict[Cell, CellGate]]:
        """Visits the cells in order; gives the head's four features and every cell's gate."""
        nobody = torch.zeros(len(stem), dtype=torch.bool, device=stem.device)
        space = self.space
        arrived = {cell: Arrived(None, nobody) for cell in space.cells}
        arrived[space.cells[0]].add(stem, ~nobody)
        last = [Arrived(None, nobody) for _ in range(SCALES)]
        gates: dict[Cell, CellGate] = {}
        for cell in space.cells:
            here = arrived.pop(cell)
            emitted, gates[cell] = self._run_cell(cell, here, forced, route_factors, like=stem)
            for path, (features, sent) in emitted.items():
                target = space.target(cell, path)
                (last[cell.scale] if target is None else arrived[target]).add(features, sent)
        return [
            self._zeros(stem, scale) if slot.features is None else slot.features for scale, slot in enumerate(last)
        ], gates

    def _run_cell(
        self, cell: Cell, here: Arrived, forced: Mapping[Cell, Tensor] | None, route_factors: RouteFactors, *, like: Tensor
    ) -> tuple[dict[PathName, tuple[Tensor | None, Tensor]], CellGate]:
        module = self.cell(cell)
        x = self._zeros(like, cell.scale) if here.features is None else here.features
        run = self._run_in_training if self.training else self._run_in_evaluation
        return run(module, x, here.reached, None if forced is None else forced[cell], route_factors)

    def _run_in_training(
        self, module: CellModule, x: Tensor, reached: Tensor, mask: Tensor | None, route_factors: RouteFactors
    ) -> tuple[dict[PathName, tuple[Tensor | None, Tensor]], CellGate]:
        """Every path of every image, multiplied by its factor; no dead cells, no data-dependent control flow."""
        factors = _forced(module.gate_factors(x), mask, route_factors)
        is_open = factors.sum(1) >= OPEN_THRESHOLD
        passes_on = ~is_open if mask is None else torch.zeros_like(is_open)
        gate = _applied(factors, is_open, passes_on, torch.ones_like(is_open))
        h = module.hidden(x, self.drop_path * module.drop_share)
        emitted: dict[PathName, tuple[Tensor | None, Tensor]] = {}
        for index, path in enumerate(module.paths):
            y = module.path_output(path, h)
            if path == "keep":
                y = torch.where(_per_image(passes_on), x.to(y.dtype), y)
            emitted[path] = (y * _per_image(gate.factors[:, index]).to(y.dtype), torch.ones_like(is_open))
        return emitted, gate

    def _run_in_evaluation(
        self, module: CellModule, x: Tensor, reached: Tensor, mask: Tensor | None, route_factors: RouteFactors
    ) -> tuple[dict[PathName, tuple[Tensor | None, Tensor]], CellGate]:
        """Open cells and open paths only, each for the images that take them."""
        factors = x.new_zeros(len(x), len(module.paths))
        if reached.any() and (mask is None or route_factors == "gate"):
            factors = _scatter(module.gate_factors(_select(x, reached)), reached)
        elif mask is not None:
            factors = torch.ones_like(factors)
        factors = _forced(factors, mask, route_factors)
        is_open = reached & (factors.sum(1) >= OPEN_THRESHOLD)
        passes_on = reached & ~is_open if mask is None else torch.zeros_like(reached)
        gate = _applied(factors, is_open, passes_on, reached)
        if not is_open.any():
            nothing: dict[PathName, tuple[Tensor | None, Tensor]] = {path: (None, is_open) for path in module.paths}
            nothing["keep"] = (x if passes_on.any() else None, passes_on)
            return nothing, gate
        h = module.hidden(_select(x, is_open))
        emitted: dict[PathName, tuple[Tensor | None, Tensor]] = {}
        for index, path in enumerate(module.paths):
            taken = is_open & (gate.factors[:, index] > 0)
            y: Tensor | None = None
            if taken.any():
                y = module.path_output(path, _select(h, taken[is_open]))
                y = _scatter(y * _per_image(gate.factors[taken, index]).to(y.dtype), taken)
            sent = is_open
            if path == "keep" and passes_on.any():
                identity = x * _per_image(passes_on).to(x.dtype)
                y, sent = identity if y is None else y + identity, is_open | passes_on
            emitted[path] = (y, sent)
        return emitted, gate

    def _zeros(self, like: Tensor, scale: int) -> Tensor:
        n, _, height, width = like.shape
        return like.new_zeros(n, self.space.channels_at(scale), height >> scale, width >> scale)

    def _route_masks(self, route: Route | Sequence[Route], images: Tensor) -> dict[Cell, Tensor]:
        routes = [route] * len(images) if isinstance(route, frozenset) else list(route)
        if len(routes) != len(images):
            raise ValueError(f"{len(routes)} routes for {len(images)} images: give one for all, or one per image.")
        for each in routes:
            self.space.check_route(each)
        return {
            cell: torch.tensor(
                [[(cell, path) in each for path in self.space.paths(cell)] for each in routes], device=images.device
            )
            for cell in self.space.cells
        }


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


def _forced(factors: Tensor, mask: Tensor | None, route_factors: RouteFactors) -> Tensor:
    if mask is None:
        return factors
    if route_factors not in ("one", "gate"):
        raise ValueError(f"route_factors={route_factors!r}: choose one or gate.")
    return mask.to(factors.dtype) if route_factors == "one" else factors * mask.to(factors.dtype)


def _applied(factors: Tensor, is_open: Tensor, passes_on: Tensor, reached: Tensor) -> CellGate:
    """Factors as applied: an open cell's own; keep = 1 and nothing else for a closed one; 0 for a dead one."""
    identity = torch.zeros_like(factors)
    identity[:, 0] = 1
    applied = torch.where(is_open[:, None], factors, identity * passes_on[:, None].to(factors.dtype))
    state = torch.full_like(is_open, DEAD, dtype=torch.uint8)
    state = torch.where(reached, torch.where(is_open, OPEN, CLOSED).to(torch.uint8), state)
    return CellGate(applied, state)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _select(x: Tensor, images: Tensor) -> Tensor:
    return x if bool(images.all()) else x[images]


def _scatter(rows: Tensor, images: Tensor) -> Tensor:
    """Rows of the chosen images, back among all N, zeros elsewhere."""
    if bool(images.all()):
        return rows
    full = rows.new_zeros(len(images), *rows.shape[1:])
    full[images] = rows
    return full
