"""One network and some pictures: segment any of them, with other thresholds for the gates, or along a forced route.

Takes a trained network or an experiment (then untrained), and a data set or a folder of pictures of your own;
gives `View`s. The threshold is applied while the network runs, so later gates see what an earlier closing leaves: the
true answer to what the book's explorer can only count.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dynroute_core.cell import DEAD, Gate
from dynroute_core.data.dataset import PHOTOGRAPH_ENDINGS, Sample, SegmentationDataset, read_image
from dynroute_core.data.datasets import find_dataset
from dynroute_core.data.labels import IGNORE, ClassSet
from dynroute_core.evaluate import ImageResult, RouteTaken, as_input, first_route, predict_labels
from dynroute_core.experiments import Experiment
from dynroute_core.metrics import confusion_matrix, mean_iou
from dynroute_core.model import RoutingOutput, Segmenter
from dynroute_core.runs.finished import TrainedSegmenter
from dynroute_core.runs.record import Routes
from dynroute_core.runs.recording import make_routes
from dynroute_core.runs.route_files import ROUTE_NAMES, find_route
from dynroute_core.space import Route, RoutingSpace
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.files import visible
from dynroute_suite.report.flow import Flow, flow

GATES = "as the gates decide"


@dataclass(frozen=True)
class Pictures:
    """What there is to look at. open: the sample at an index; its label is all 255 where the truth is not known."""

    names: tuple[str, ...]
    open: Callable[[int], Sample]


@dataclass(frozen=True, eq=False)
class View:
    """A picture as the network saw it. labels: H×W train ids; macs: at the experiment's nominal size, in the paper's
    accounting; milliseconds: median of the timed passes on this machine, at the shown size; miou_percent: None without
    truth."""

    sample: Sample
    labels: np.ndarray
    flow: Flow
    macs: float
    milliseconds: float
    miou_percent: float | None


@dataclass(frozen=True)
class Explorer:
    """A network, what it was trained for, and the pictures. trained: whether its weights come from a run."""

    model: Segmenter
    experiment: Experiment
    pictures: Pictures
    device: torch.device
    trained: bool

    @property
    def classes(self) -> ClassSet:
        return find_dataset(self.experiment.data.name).classes

    @property
    def route_names(self) -> tuple[str, ...]:
        """What `view` takes for `route`, beside files: the gates, and the named routes that fit this depth."""
        return GATES, *(name for name in ROUTE_NAMES if self._fits(name))

    def view(self, index: int, *, threshold: float = 0.0, route: str = GATES, repeats: int = 1) -> View:
        """Segments picture `index`. threshold: gates' factors up to it count as 0. route: a name of `route_names`, or
        a file as `--route` takes it; its paths are forced open with factor 1, and the threshold then has no part.

        Raises UsageError for an unknown route, ValueError for a threshold outside 0..1.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold}: factors lie from 0 to 1, so give a threshold in that range.")
        sample = self.pictures.open(index)
        forced = None if route == GATES else find_route(route, self.model.space)
        images = as_input(sample, self.experiment.evaluate, self.device)
        output, milliseconds = self._timed(images, threshold, forced, repeats)
        labels = predict_labels(output.logits, *sample.label.shape)[0]
        height, width = self.experiment.evaluate.nominal_height, self.experiment.evaluate.nominal_width
        taken = first_route(output, height, width)
        routes = as_routes(output, self.experiment.row, sample.name, taken)
        return View(
            sample=sample,
            labels=labels.to(torch.uint8).cpu().numpy(),
            flow=flow(routes, routes.images, config=self.model.config, height=height, width=width),
            macs=taken.macs.paper,
            milliseconds=milliseconds,
            miou_percent=self._miou(labels, sample),
        )

    @torch.inference_mode()
    def _timed(
        self, images: Tensor, threshold: float, forced: Route | None, repeats: int
    ) -> tuple[RoutingOutput, float]:
        times = []
        with closing_up_to(self.model, threshold):
            for _ in range(max(repeats, 1)):
                start = time.perf_counter()
                output = self.model(images, route=forced)
                if images.device.type == "cuda":
                    torch.cuda.synchronize(images.device)
                times.append(1000 * (time.perf_counter() - start))
        return output, statistics.median(times)

    def _miou(self, labels: Tensor, sample: Sample) -> float | None:
        truth = torch.from_numpy(sample.label).to(labels.device)
        value = mean_iou(confusion_matrix(labels, truth, len(self.classes)).cpu().numpy())
        return None if math.isnan(value) or (sample.label == IGNORE).all() else 100 * value

    def _fits(self, name: str) -> bool:
        try:
            find_route(name, self.model.space)
        except UsageError:
            return False
        return True


@contextmanager
def closing_up_to(model: nn.Module, threshold: float) -> Iterator[None]:
    """Within it, the gates' factors of at most `threshold` are 0; networks without gates stay as they are."""

    def close(_: nn.Module, __: object, factors: Tensor) -> Tensor:
        return factors * (factors > threshold).to(factors.dtype)

    hooks = [gate.register_forward_hook(close) for gate in model.modules() if threshold and isinstance(gate, Gate)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def as_routes(output: RoutingOutput, row: str, name: str, taken: RouteTaken) -> Routes:
    """What the gates made of the first image, as a run would record it; but a cell that a forced route leaves out sends
    nothing, not even its input, and counts as dead."""
    silent = [not bool(gate.factors[0].any()) for gate in output.gates.values()]
    uncounted = np.zeros((output.config.classes,) * 2, np.int64)
    image = ImageResult(name, uncounted, replace(taken, states=np.where(silent, DEAD, taken.states)))
    return make_routes(row, "", RoutingSpace.of(output.config), [image])


def untrained(experiment: Experiment) -> Segmenter:
    """The experiment's network as training would find it: every path nearly open, every label arbitrary."""
    torch.manual_seed(experiment.seed)
    return Segmenter(experiment.model)


def pictures_of(dataset: SegmentationDataset) -> Pictures:
    return Pictures(tuple(item.name for item in dataset.items), dataset.__getitem__)


def own_pictures(folder: Path) -> Pictures:
    """PNG, JPEG and WebP files of a folder, by name, turned as the camera was.

    Raises BlockedError where there are none.
    """
    files = [path for path in visible(folder, "*") if path.suffix.lower() in PHOTOGRAPH_ENDINGS]
    if not files:
        raise BlockedError(
            f"{folder} holds no pictures ({', '.join(PHOTOGRAPH_ENDINGS)}). Put some there, or name another."
        )

    def opened(index: int) -> Sample:
        image = read_image(files[index], upright=True)
        return Sample(files[index].name, image, np.full(image.shape[:2], IGNORE, np.uint8))

    return Pictures(tuple(path.name for path in files), opened)


def start(
    experiment: Experiment,
    pictures: Pictures | Sequence[Sample],
    *,
    model: TrainedSegmenter | None = None,
    device: torch.device,
) -> Explorer:
    """An explorer with a trained network, or an untrained one where `model` is None.

    With a trained one, its own settings hold in place of `experiment`'s.
    """
    shown = pictures if isinstance(pictures, Pictures) else of_samples(pictures)
    if model is None:
        return Explorer(untrained(experiment).to(device).eval(), experiment, shown, device, trained=False)
    return Explorer(model.to(device).eval(), model.experiment, shown, device, trained=True)


def of_samples(samples: Sequence[Sample]) -> Pictures:
    return Pictures(tuple(sample.name for sample in samples), samples.__getitem__)
