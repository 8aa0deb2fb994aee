"""Evaluation: any predictor (model, engine) over a data set → one confusion matrix, and each image's cost and route."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dynroute_core.cell import RouteFactors
from dynroute_core.data.dataset import Sample
from dynroute_core.data.transforms import horizontal_flip, resize_shortest
from dynroute_core.distributed import Team
from dynroute_core.metrics import Confusion, confusion_matrix
from dynroute_core.model import Routing, RoutingOutput, Segmentation
from dynroute_core.space import LARGEST_SIDE, ModelConfig, Route, RoutingSpace

TTA_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of test-time augmentation, as published

BackendName = Literal["auto", "torch", "native", "cuda"]
"""Who computes an evaluation; "auto" takes a compiled backend of the engine where one can run."""


class View(NamedTuple):
    """One way an image is shown to the network: its size multiplied by `scale`, and mirrored where `flipped`."""

    scale: float
    flipped: bool


PLAIN = View(1.0, False)


@dataclass(frozen=True, kw_only=True)
class ForcedPaths:
    """A route forced at every image."""

    name: str  # as it was asked for
    paths: tuple[str, ...]  # the open ones, as CELL>PATH
    factors: RouteFactors = "one"  # of the open paths: 1, or what the gates compute


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Single scale unless told otherwise, batch 1."""

    nominal_height: int = 1024  # at which costs are counted, whatever the image's size, in pixels
    nominal_width: int = 2048  # likewise
    # Shortest edge to which images are resized (antialiased bilinear), in pixels; 0 for their own size. The logits are
    # then enlarged to the label's size, where everything is measured.
    shortest: int = 0
    # Test-time augmentation: the image is shown at each of these times that size, and the logits of all views are
    # averaged at the label's size.
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False  # whether every view is shown mirrored as well
    # Which backend of the engine computes it, in float32. They sum in different orders, so where two logits tie their
    # labels may differ: it is part of a run's key, and the record names the one that auto came to.
    backend: BackendName = "auto"
    route: ForcedPaths | None = None  # forced at every image; null for what the gates choose

    def __post_init__(self) -> None:
        if min(self.nominal_height, self.nominal_width) < 1:
            raise ValueError("nominal_height and nominal_width are at least 1")
        if max(self.nominal_height, self.nominal_width) > LARGEST_SIDE:
            raise ValueError(f"nominal_height and nominal_width are at most {LARGEST_SIDE}")
        if not 0 <= self.shortest <= LARGEST_SIDE:
            raise ValueError(f"shortest={self.shortest}: give up to {LARGEST_SIDE} pixels, or 0 for the images' own")
        if not self.scales or not all(1 / 64 <= scale <= 64 for scale in self.scales):
            raise ValueError(
                f"scales={self.scales}: give at least one, each above 0, from 1/64 to 64; {TTA_SCALES} are published"
            )
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales={self.scales}: give each scale once")

    @property
    def views(self) -> tuple[View, ...]:
        """How each image is shown; the first is the one whose route is kept: nearest to the image's size, unflipped."""
        ordered = sorted(self.scales, key=lambda scale: abs(math.log(scale)))
        return tuple(
            View(scale, flipped) for scale in ordered for flipped in ((False, True) if self.flip else (False,))
        )

    def nominal_size(self, view: View) -> tuple[int, int]:
        """(height, width) at which a view's cost is counted."""
        return max(round(view.scale * self.nominal_height), 1), max(round(view.scale * self.nominal_width), 1)


class LabelledImage(Protocol):
    """What evaluation reads: image H×W×3 uint8 BGR, label H×W train ids (255 ignored), name."""

    @property
    def name(self) -> str: ...
    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def label(self) -> NDArray[np.uint8]: ...


class ImageMacs(NamedTuple):
    """An image's cost: realised in the paper's and in the released code's accounting, and expected."""

    paper: float
    repo: float
    expected: float


@dataclass(frozen=True)
class RouteTaken:
    """What the gates made of one image: its cost, the state of every cell and the factor of every path (both in forward
    order). With test-time augmentation the cost is the sum over the views; states and factors are the first view's."""

    macs: ImageMacs
    states: NDArray[np.uint8]
    factors: NDArray[np.float32]


@dataclass(frozen=True)
class ImageResult:
    """One image: its confusion matrix and its route."""

    name: str
    confusion: Confusion
    route: RouteTaken


@dataclass(frozen=True)
class Evaluation:
    """The whole split. confusion: (classes, classes), the sum over the images."""

    confusion: Confusion
    images: tuple[ImageResult, ...]


class Predictor(Protocol):
    """What evaluation asks: full-size logits, or labels at the images' size, which an engine gives without them."""

    def __call__(self, images: Tensor) -> RoutingOutput: ...
    def segment(self, images: Tensor) -> Segmentation: ...


class Network(Protocol):
    """What can be evaluated: the model, or an engine made of it."""

    config: ModelConfig

    def __call__(
        self, images: Tensor, *, route: Route | None = None, route_factors: RouteFactors = "one"
    ) -> RoutingOutput: ...
    def segment(
        self, images: Tensor, *, route: Route | None = None, route_factors: RouteFactors = "one"
    ) -> Segmentation: ...


@dataclass(frozen=True)
class OnRoute:
    """A network that takes the same route at every image."""

    network: Network
    route: Route
    factors: RouteFactors

    def __call__(self, images: Tensor) -> RoutingOutput:
        return self.network(images, route=self.route, route_factors=self.factors)

    def segment(self, images: Tensor) -> Segmentation:
        return self.network.segment(images, route=self.route, route_factors=self.factors)


def predictor(network: Network, config: EvaluateConfig) -> Predictor:
    """The network as evaluation asks it: by its own gates, or on the forced route. Raises ValueError for a path that
    the network does not have."""
    if config.route is None:
        return network
    route = RoutingSpace.of(network.config).parse_paths(config.route.paths)
    return OnRoute(network, route, config.route.factors)


def resize_logits(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits N×K×h×w → N×K×height×width, bilinear; as they are where they have that size."""
    if logits.shape[-2:] == (height, width):
        return logits
    return F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)


def predict_labels(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits N×K×h×w → train ids N×height×width; logits of another size are first resized."""
    # argmax gives the same, the first of the largest, in twice the time.
    return resize_logits(logits, height, width).max(1).indices


def as_input(sample: LabelledImage, config: EvaluateConfig, device: torch.device, view: View = PLAIN) -> Tensor:
    """The sample's image as evaluation shows it to the network: 1×3×H×W float32 on the device."""
    shown = Sample(sample.name, sample.image, sample.label)
    if config.shortest or view.scale != 1:
        shortest = view.scale * (config.shortest or min(sample.image.shape[:2]))
        shown = resize_shortest(shown, max(round(shortest), 1), sys.maxsize)
    if view.flipped:
        shown = horizontal_flip(shown)
    return torch.from_numpy(np.ascontiguousarray(shown.image.transpose(2, 0, 1)))[None].to(device).float()


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of one image. labels: train ids at the label's size."""

    labels: Tensor
    route: RouteTaken


@torch.inference_mode()
def predict_image(
    predict: Predictor, sample: LabelledImage, config: EvaluateConfig, device: torch.device
) -> Prediction:
    """One image through all its views. Of the sample's label only the size is read."""
    if config.views == (PLAIN,):
        images = as_input(sample, config, device)
        if images.shape[-2:] == sample.label.shape:
            segmented = predict.segment(images)
            return Prediction(
                segmented.labels[0].long(), first_route(segmented, config.nominal_height, config.nominal_width)
            )
    outputs = (predict(as_input(sample, config, device, view)) for view in config.views)
    total: Tensor | None = None
    routes: list[RouteTaken] = []
    for view, output in zip(config.views, outputs, strict=True):
        logits = resize_logits(output.logits, *sample.label.shape)
        logits = logits.flip(-1) if view.flipped else logits
        total = logits if total is None else total.float() + logits
        routes.append(first_route(output, *config.nominal_size(view)))
    assert total is not None
    macs = ImageMacs(*map(sum, zip(*(route.macs for route in routes), strict=True)))
    return Prediction(predict_labels(total, *total.shape[-2:])[0], replace(routes[0], macs=macs))


def first_route(output: Routing, height: int, width: int) -> RouteTaken:
    """The route of the first image of an output, its cost counted at this nominal size."""
    paper = output.cost(height=height, width=width, accounting="paper")
    repo = output.cost(height=height, width=width, accounting="repo")
    gates = list(output.gates.values())
    return RouteTaken(
        macs=ImageMacs(*(float(one[0]) for one in (paper.realised_macs, repo.realised_macs, paper.expected_macs))),
        states=torch.stack([gate.state[0] for gate in gates]).cpu().numpy(),
        factors=torch.cat([gate.factors[0] for gate in gates]).float().cpu().numpy(),
    )


@torch.inference_mode()
def evaluate(
    predict: Predictor,
    samples: Iterable[LabelledImage],
    config: EvaluateConfig,
    *,
    classes: int,
    device: torch.device,
    each: Callable[[ImageResult], None] | None = None,
) -> Evaluation:
    """Evaluates image by image. each: called after every image."""
    results = []
    total = np.zeros((classes, classes), dtype=np.int64)
    for sample in samples:
        said = predict_image(predict, sample, config, device)
        label = torch.from_numpy(sample.label).to(device)
        confusion = confusion_matrix(said.labels, label, classes).cpu().numpy()
        total += confusion
        results.append(ImageResult(sample.name, confusion, said.route))
        if each is not None:
            each(results[-1])
    return Evaluation(total, tuple(results))


def collected(own: Evaluation, names: Sequence[str], team: Team) -> Evaluation:
    """The evaluation of a whole split, from each process's of the images that were `Team.dealt` to it: confusion
    matrices are summed as integers, and every image's facts stand in the split's order. names: of all its images."""
    if team.size == 1:
        return own

    def everyone(rows: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        return team.collected(torch.from_numpy(np.stack(rows)), len(names)).numpy()

    routes = [image.route for image in own.images]
    macs = everyone([np.array(route.macs) for route in routes])
    states, factors = everyone([route.states for route in routes]), everyone([route.factors for route in routes])
    confusions = everyone([image.confusion for image in own.images])
    taken = map(RouteTaken, (ImageMacs(*cost) for cost in macs.tolist()), states, factors)
    return Evaluation(confusions.sum(0), tuple(map(ImageResult, names, confusions, taken)))
