"""Evaluation: any predictor (model, engine) over a data set → one confusion matrix, and each image's cost and route."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dynroute_core.data.dataset import Sample
from dynroute_core.data.transforms import resize_shortest
from dynroute_core.metrics import Confusion, confusion_matrix
from dynroute_core.model import RoutingOutput


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Single scale, batch 1. Costs are counted at the nominal size, whatever the image's.

    shortest: images are resized to this shortest edge (pixels, antialiased bilinear), 0 for their own size; the logits
    are then enlarged to the label's size, where everything is measured.
    """

    nominal_height: int = 1024
    nominal_width: int = 2048
    shortest: int = 0

    def __post_init__(self) -> None:
        if min(self.nominal_height, self.nominal_width) < 1:
            raise ValueError("nominal_height and nominal_width are at least 1")
        if self.shortest < 0:
            raise ValueError(f"shortest={self.shortest}: give a size in pixels, or 0 for the images' own")


class LabelledImage(Protocol):
    """What evaluation reads: image H×W×3 uint8 BGR, label H×W train ids (255 ignored), name."""

    @property
    def name(self) -> str: ...
    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def label(self) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class ImageResult:
    """One image: its confusion matrix, MACs, state per cell and factor per path (both in forward order)."""

    name: str
    confusion: Confusion
    paper_macs: float
    repo_macs: float
    expected_macs: float
    states: NDArray[np.uint8]
    factors: NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """The whole split. confusion: (classes, classes), the sum over the images."""

    confusion: Confusion
    images: tuple[ImageResult, ...]


Predictor = Callable[[Tensor], RoutingOutput]


def predict_labels(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits N×K×h×w → train ids N×height×width; logits of another size are first resized (bilinear)."""
    if logits.shape[-2:] != (height, width):
        logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
    return logits.argmax(1)


def as_input(sample: LabelledImage, config: EvaluateConfig, device: torch.device) -> Tensor:
    """The sample's image as evaluation shows it to the network: 1×3×H×W float32 on the device."""
    image = sample.image
    if config.shortest:
        whole = Sample(sample.name, image, sample.label)
        image = resize_shortest(whole, config.shortest, sys.maxsize).image
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(device).float()


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
        output = predict(as_input(sample, config, device))
        predicted = predict_labels(output.logits, *sample.label.shape)[0]
        label = torch.from_numpy(sample.label).to(device)
        confusion = confusion_matrix(predicted, label, classes).cpu().numpy()
        total += confusion
        size = {"height": config.nominal_height, "width": config.nominal_width}
        paper = output.cost(**size, accounting="paper")
        repo = output.cost(**size, accounting="repo")
        results.append(
            ImageResult(
                name=sample.name,
                confusion=confusion,
                paper_macs=float(paper.realised_macs[0]),
                repo_macs=float(repo.realised_macs[0]),
                expected_macs=float(paper.expected_macs[0]),
                states=torch.stack([gate.state[0] for gate in output.gates.values()]).cpu().numpy(),
                factors=torch.cat([gate.factors[0] for gate in output.gates.values()]).float().cpu().numpy(),
            )
        )
        if each is not None:
            each(results[-1])
    return Evaluation(total, tuple(results))
