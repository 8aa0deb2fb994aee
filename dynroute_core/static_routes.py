"""Well-known networks as fixed routes of the routing space (paper: static architectures are special cases of it).

Takes a network's name and a number of layers; gives its route, or the `ModelConfig` of the network that consists of
this route alone. What is kept of a published network is how its depth is divided among the strides 4, 8, 16, 32 and
where its maps meet; cells, scale transforms, stem and head are those of the space. The paper speaks of connections
similar to these networks' and the released code has none of them, so every choice here is ours, made from the
networks' own papers.

One rule fits every network to every depth: it has *stages*, each with a published depth; the L + 1 cells that any way
from stem to head passes, the initial one included, are divided among the stages in the proportion of these depths
(`divide`), at least one each. So a network needs as many cells as it has stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dynroute_core.space import Cell, ModelConfig, PathKey, PathName, Route, RoutingSpace, path_name
from dynroute_core.system.errors import UsageError, suggest

Build = Callable[[Sequence[int]], Iterable[PathKey]]  # from the cells of each stage to the network's paths


@dataclass(frozen=True)
class StaticNetwork:
    """A published network in the form it takes here. depths: of its stages as published; stages: what these are."""

    title: str
    source: str
    stages: str
    depths: tuple[int, ...]
    build: Build

    @property
    def least_layers(self) -> int:
        """The fewest layers that it fits: the initial cell is the first stage's."""
        return len(self.depths) - 1

    def route(self, layers: int) -> Route:
        """The network in a space of so many layers. Raises UsageError where it does not fit."""
        if layers < self.least_layers:
            raise UsageError(
                f"{self.title} does not fit {layers} layers: its {len(self.depths)} stages need {self.least_layers}. "
                f"Set model.layers={self.least_layers} or more."
            )
        return RoutingSpace(layers, 1).check_route(self.build(divide(layers + 1, self.depths)))


def divide(total: int, depths: Sequence[int]) -> tuple[int, ...]:
    """`total` cells in whole parts proportional to `depths`, at least one each: exact where that is possible, and no
    part shrinks when `total` grows.

    Sainte-Laguë's rule: one cell each, every further one to the stage with the largest depth / (2·cells + 1), the first
    of equal ones. Raises ValueError where there are fewer cells than stages.
    """
    if total < len(depths):
        raise ValueError(f"{total} cells for {len(depths)} stages: give at least one each.")
    parts = [1] * len(depths)
    for _ in range(total - len(depths)):
        wanting = [depth / (2 * part + 1) for depth, part in zip(depths, parts, strict=True)]
        parts[wanting.index(max(wanting))] += 1
    return tuple(parts)


def chain(scales: Sequence[int]) -> list[PathKey]:
    """The one way through cells of these scales, the initial cell's first, to the head."""
    step: Mapping[int, PathName] = {0: "keep", -1: "up", 1: "down"}
    ends = [*scales[1:], scales[-1]]
    return [
        (Cell(layer, scale), step[end - scale]) for layer, (scale, end) in enumerate(zip(scales, ends, strict=True), -1)
    ]


def _repeat(values: Sequence[int], parts: Sequence[int]) -> list[int]:
    return [value for value, count in zip(values, parts, strict=True) for _ in range(count)]


def _single(*scales: int) -> Build:
    """A network without branches: its stages' scales in a row."""
    return lambda parts: chain(_repeat(scales, parts))


def _unet(parts: Sequence[int]) -> list[PathKey]:
    """Down and up again. Every scale's contracting stage also sends to the expanding one of its own scale: a way that
    turns at this scale instead of the coarsest."""
    scales = _repeat((0, 1, 2, 3, 2, 1, 0), parts)
    return [path for turn in range(4) for path in chain([min(scale, turn) for scale in scales])]


def _hrnetv2(parts: Sequence[int]) -> list[PathKey]:
    """Parallel scales, side by side within a module; between modules neighbours exchange, between stages a coarser one
    joins."""
    widths = _repeat((1, 2, 3, 3, 3, 3, 4, 4, 4), parts)
    module = _repeat(range(9), parts)
    paths: list[PathKey] = []
    for layer, (here, after) in enumerate(pairwise(range(len(widths))), -1):
        exchange = module[here] != module[after]
        for scale in range(widths[here]):
            paths.append((Cell(layer, scale), "keep"))
            if exchange and scale > 0:
                paths.append((Cell(layer, scale), "up"))
            if exchange and scale + 1 < widths[after]:
                paths.append((Cell(layer, scale), "down"))
    return paths + [(Cell(len(widths) - 2, scale), "keep") for scale in range(widths[-1])]


STATIC: Mapping[str, StaticNetwork] = {
    "fcn32s": StaticNetwork(
        title="FCN-32s",
        source="Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, CVPR 2015",
        stages="convolutions of VGG-16 at strides 4, 8 and 16, then fc6 and fc7 at stride 32",
        depths=(3, 3, 3, 2),
        build=_single(0, 1, 2, 3),
    ),
    "deeplabv3": StaticNetwork(
        title="DeepLabV3",
        source="Chen, Papandreou, Schroff, Adam, Rethinking Atrous Convolution for Semantic Image Segmentation, "
        "arXiv:1706.05587, 2017; output stride 16",
        stages="blocks of ResNet-50 at strides 4, 8 and 16 (the last three atrous), the atrous pyramid as one more",
        depths=(3, 4, 10),
        build=_single(0, 1, 2),
    ),
    "unet": StaticNetwork(
        title="U-Net",
        source="Ronneberger, Fischer, Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, "
        "MICCAI 2015",
        stages="convolutions down at strides 4, 8, 16, at 32, and up at 16, 8, 4 (published: strides 1 to 16)",
        depths=(2, 2, 2, 2, 2, 2, 2),
        build=_unet,
    ),
    "hrnetv2": StaticNetwork(
        title="HRNetV2",
        source="Sun and others, High-Resolution Representations for Labeling Pixels and Regions, "
        "arXiv:1904.04514, 2019",
        stages="residual units of stage 1, of stage 2's one module, stage 3's four and stage 4's three",
        depths=(4, 4, 4, 4, 4, 4, 4, 4, 4),
        build=_hrnetv2,
    ),
    "autodeeplab": StaticNetwork(
        title="Auto-DeepLab",
        source="Liu and others, Auto-DeepLab: Hierarchical Neural Architecture Search for Semantic Image Segmentation, "
        "CVPR 2019",
        stages="layers at one scale in the found path 0,0,0,1,2,1,2,2,3,3,2,1",
        depths=(3, 1, 1, 1, 2, 2, 1, 1),
        build=_single(0, 1, 2, 1, 2, 3, 2, 1),
    ),
}


def static_route(name: str, layers: int) -> Route:
    """The route of a network of `STATIC`. Raises UsageError for an unknown name, and for too few layers."""
    if name not in STATIC:
        raise suggest("static network", name, STATIC)
    return STATIC[name].route(layers)


def static_paths(name: str, layers: int) -> tuple[str, ...]:
    """As `static_route`, written as `ModelConfig.paths` wants it."""
    return tuple(sorted(map(path_name, static_route(name, layers))))


def static_model(name: str, layers: int = 16) -> ModelConfig:
    """The network that consists of this route alone, at the published width. Raises as `static_route`."""
    return ModelConfig(layers=layers, gate="none", paths=static_paths(name, layers))


def common_route(space: RoutingSpace, shares: Mapping[PathKey, float], share: float) -> Route:
    """The paths open in more than `share` of the images, without those that lie on no way from the initial cell to the
    head; none where there is no such way.

    shares: of the images, 0..1, by path; a path that is not there is never open. Raises ValueError for a path that this
    space does not have.
    """
    return space.prune(path for path, opened in shares.items() if opened > share)
