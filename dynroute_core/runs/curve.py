"""The training curve: means between two logged iterations, as `curve.csv` and TensorBoard scalars.

Takes `StepState`s, gives `CurvePoint`s. Sums stay on the device, so an iteration that is not logged waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dynroute_core.metrics import mean_iou
from dynroute_core.runs.record import CurvePoint
from dynroute_core.system.errors import BlockedError
from dynroute_core.train import StepState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Meter:
    """Gathers iterations into points. Its state travels in checkpoints: an interrupted curve equals a whole one."""

    def __init__(self, classes: int, iterations: int, device: torch.device) -> None:
        self.iterations = iterations
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)
        self.count = 0  # iterations since the last point, those left out among them
        self.skipped = 0
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)

    def add(self, state: StepState, seconds: float) -> CurvePoint | None:
        """Adds an iteration; gives a point at those that carry a confusion matrix. seconds: of training so far.

        An iteration whose batch was left out gives none, and has no part in the means.
        """
        self.count += 1
        if state.skipped:
            self.skipped += 1
            return None
        values = (state.loss, state.segmentation_loss, state.budget_loss, state.expected_macs)
        self.sums += torch.stack([value.to(self.sums) for value in values])
        if state.confusion is None:
            return None
        if state.iteration % max(self.iterations // 10, 1) < self.count:
            self.confusion.zero_()  # a new tenth begins: "so far" means since then, not since the untrained start
        self.confusion += state.confusion
        loss, segmentation, budget, expected = (self.sums / (self.count - self.skipped)).tolist()
        self.sums.zero_()
        self.count = self.skipped = 0
        return CurvePoint(
            iteration=state.iteration,
            loss=loss,
            segmentation_loss=segmentation,
            budget_loss=budget,
            lr=state.lr,
            expected_macs=expected,
            train_miou_percent=100 * mean_iou(self.confusion.cpu().numpy()),
            seconds=seconds,
        )

    def tensors(self) -> dict[str, Tensor]:
        return {
            "meter/sums": self.sums,
            "meter/count": torch.tensor(self.count, dtype=torch.int64, device="cpu"),
            "meter/skipped": torch.tensor(self.skipped, dtype=torch.int64, device="cpu"),
            "meter/confusion": self.confusion,
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.sums.copy_(tensors["meter/sums"])
        self.count = int(tensors["meter/count"])
        self.skipped = int(tensors["meter/skipped"])
        self.confusion.copy_(tensors["meter/confusion"])


@contextmanager
def tensorboard(folder: Path | None, first_iteration: int) -> Iterator[Callable[[CurvePoint], None]]:
    """A function that logs a point, and forgets what a killed run logged from `first_iteration` on; without a folder or
    tensorboard it does nothing.

    Raises BlockedError where the disk has no room.
    """
    if folder is None or (writer_class := _writer_class()) is None:
        yield lambda point: None
        return
    with _no_room(folder):
        writer = writer_class(str(folder), purge_step=first_iteration)

    def log(point: CurvePoint) -> None:
        with _no_room(folder):
            write_scalars(writer, point)

    try:
        yield log
    finally:
        with _no_room(folder):
            writer.close()


def _writer_class() -> type[SummaryWriter] | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter


@contextmanager
def _no_room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BlockedError(
            f"cannot write to {folder}: {error.strerror or error}. Free some space, then run the same command again."
        ) from error


def write_scalars(writer: SummaryWriter, point: CurvePoint) -> None:
    for name in ("loss", "segmentation_loss", "budget_loss", "lr", "train_miou_percent"):
        writer.add_scalar(f"train/{name}", getattr(point, name), point.iteration)
    writer.add_scalar("train/expected_mmacs", point.expected_macs / 1e6, point.iteration)


def late_mean(points: Iterable[CurvePoint], name: str, iterations: int) -> float | None:
    """The mean of a curve's field over the last tenth of the schedule; None where nothing was trained."""
    late = [getattr(point, name) for point in points if point.iteration + 1 > 0.9 * iterations]
    return sum(late) / len(late) if late else None


def curve_text(point: CurvePoint) -> str:
    """A point as a progress bar shows it."""
    return (
        f"loss {point.loss:.3f}  lr {point.lr:.4f}  mIoU {point.train_miou_percent:.1f}  "
        f"expected {point.expected_macs / 1e9:.3g} GFLOPs"
    )
