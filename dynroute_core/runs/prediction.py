"""A network at a picture of anyone's own: `predict`. Large pictures too: the network sees them as small as its training
did, and labels are enlarged strip by strip, so that memory grows with the picture's bytes alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dynroute_core.data.dataset import Bytes, read_picture
from dynroute_core.data.transforms import target_size
from dynroute_core.engine.strips import argmax_classes
from dynroute_core.evaluate import Network, RouteTaken, first_route
from dynroute_core.model import Segmenter
from dynroute_core.runs.finished import TrainedSegmenter
from dynroute_core.space import COARSEST_STRIDE, Route, path_name
from dynroute_core.system.errors import UsageError

LONGEST_SIDE = 65_500  # pixels of a picture: what a JPEG file can hold, and with it an overlay
STRETCH = 8  # the network sees a longest edge of at most so many times the shortest one that it is asked for
STRIP_VALUES = 1 << 23  # logits enlarged at a time: 32 MB
ROUTE_DIGITS = 8


@dataclass(frozen=True, eq=False)
class PredictedPicture:
    """What a network makes of a picture.

    labels: H×W uint8 train ids, of the picture's size. shown: (height, width) in pixels at which the network saw it.
    route: the open paths. taken: cost, states and factors; costs are counted at `counted`, `shown` padded as the
    network pads it.
    """

    labels: Bytes
    shown: tuple[int, int]
    route: Route
    taken: RouteTaken

    @property
    def counted(self) -> tuple[int, int]:
        return _padded(*self.shown)

    @property
    def macs(self) -> float:
        """Multiply-accumulates, in the paper's accounting."""
        return self.taken.macs.paper

    @property
    def route_id(self) -> str:
        """The same digits for the same open paths."""
        names = " ".join(sorted(map(path_name, self.route)))
        return hashlib.sha256(names.encode()).hexdigest()[:ROUTE_DIGITS]


@torch.inference_mode()
def predict(
    model: Segmenter, picture: Bytes | Path | str, *, shortest: int | None = None, engine: Network | None = None
) -> PredictedPicture:
    """Segments a picture: H×W×3 uint8 RGB, or a PNG, JPEG or WebP file, turned as the camera was.

    shortest: edge in pixels at which the network sees it, 0 for its own size; without it, that of the network's
    training where it knows it (`TrainedSegmenter`), else the picture's own. engine: an `InferenceEngine` of the model,
    which computes the same faster. Raises UsageError (a ValueError) for what is no picture or a model in training,
    DataError for a file that cannot be read.
    """
    if model.training:
        raise UsageError("the model is in training mode, where batch norm looks at the batch: call model.eval() first.")
    if shortest is None:
        shortest = model.shortest if isinstance(model, TrainedSegmenter) else 0
    if shortest < 0:
        raise UsageError(f"shortest={shortest}: give pixels above 0, or 0 for the picture's own size.")
    rgb = np.asarray(read_picture(Path(picture), upright=True)) if isinstance(picture, Path | str) else picture
    height, width = _size(rgb)
    shown = target_size(height, width, shortest, STRETCH * shortest) if shortest else (height, width)
    images = _as_images(rgb, shown).to(model.head.predictor.weight.device)
    network = model if engine is None else engine
    if shown == (height, width):
        segmented = network.segment(images)
        labels, routing = segmented.labels[0].to(torch.uint8), first_route(segmented, *_padded(*shown))
        route = segmented.routes()[0]
    else:
        output = network(images)
        labels, routing = enlarged_labels(output.logits[0], height, width), first_route(output, *_padded(*shown))
        route = output.routes()[0]
    return PredictedPicture(labels.cpu().numpy(), shown, route, routing)


def enlarged_labels(logits: Tensor, height: int, width: int) -> Tensor:
    """K×h×w logits → the argmax of their bilinear resizing to height×width, uint8, as evaluation takes it, without ever
    holding that."""
    classes, rows = logits.shape[:2]
    labels = torch.empty(height, width, dtype=torch.uint8, device=logits.device)
    # Half-pixel centres: a row lies between the row above its place and the one below.
    every = torch.arange(height, dtype=torch.int64, device=logits.device)
    place = ((every.cpu().double() + 0.5) * (rows / height) - 0.5).clamp(min=0).to(logits.device)
    above = place.long().clamp(max=rows - 1)
    share = (place - above).to(logits.dtype)[:, None]
    for strip in every.split(max(STRIP_VALUES // (classes * width), 1)):
        upper = above[strip]
        tall = torch.lerp(logits[:, upper], logits[:, (upper + 1).clamp(max=rows - 1)], share[strip])
        wide = F.interpolate(tall[None], size=(len(strip), width), mode="bilinear", align_corners=False)
        labels[strip] = argmax_classes(wide)[0]
    return labels


def _size(rgb: Bytes) -> tuple[int, int]:
    """(height, width) of a picture; raises UsageError for what is none."""
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        what = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise UsageError(
            f"a picture of {what}: give H×W×3 uint8 RGB, such as np.array(image.convert('RGB')), or a file."
        )
    height, width = rgb.shape[:2]
    if max(height, width) > LONGEST_SIDE:
        raise UsageError(f"a picture of {height}×{width} pixels: sides of at most {LONGEST_SIDE} are read. Cut it up.")
    return height, width


def _as_images(rgb: Bytes, shown: tuple[int, int]) -> Tensor:
    """1×3×h×w float32 BGR, resized as evaluation resizes."""
    if rgb.shape[:2] != shown:
        rgb = np.asarray(Image.fromarray(rgb).resize(shown[::-1], Image.Resampling.BILINEAR))
    return torch.from_numpy(rgb[..., ::-1].transpose(2, 0, 1).copy())[None].float()


def _padded(height: int, width: int) -> tuple[int, int]:
    return height + -height % COARSEST_STRIDE, width + -width % COARSEST_STRIDE
