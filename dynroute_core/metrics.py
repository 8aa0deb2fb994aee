"""Segmentation metrics, all from one integer confusion matrix (rows: labels, columns: predictions)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynroute_core.data.labels import IGNORE

Confusion = NDArray[np.int64]


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, classes) int64 counts of pixels; labels equal to 255 are left out. Both of one shape, train ids.

    Raises ValueError for a label that is neither a class nor 255, and for a prediction that is no class: either would
    be counted in a wrong place.
    """
    # By NumPy: on a CPU torch takes twenty times as long, and beside other work its threads wait for each other. Who
    # asks for counts of a GPU's labels waits for them anyway.
    truth, guess = labels.cpu().numpy(), predicted.cpu().numpy()
    valid = truth != IGNORE
    truth, guess = truth[valid].astype(np.int64), guess[valid].astype(np.int64)
    if ((truth < 0) | (truth >= classes) | (guess < 0) | (guess >= classes)).any():
        raise ValueError(f"a label or prediction is outside 0..{classes - 1} and not {IGNORE}.")
    counts = np.bincount(truth * classes + guess, minlength=classes * classes)
    return torch.from_numpy(counts.reshape(classes, classes)).to(predicted.device)


def class_iou(confusion: Confusion) -> NDArray[np.float64]:
    """IoU per class, 0..1; NaN for a class that occurs in neither labels nor predictions."""
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def mean_iou(confusion: Confusion) -> float:
    """Mean IoU, 0..1, over the classes that occur in labels or predictions; 0 where none does."""
    iou = class_iou(confusion)
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0


def frequency_weighted_iou(confusion: Confusion) -> float:
    """IoU, 0..1, weighted by how many labelled pixels each class has."""
    frequency = confusion.sum(1) / max(int(confusion.sum()), 1)
    return float((frequency * np.nan_to_num(class_iou(confusion))).sum())


def mean_accuracy(confusion: Confusion) -> float:
    """Mean over the labelled classes of the share of their pixels that is right, 0..1."""
    present = confusion.sum(1) > 0
    recall = np.diag(confusion)[present] / confusion.sum(1)[present]
    return float(recall.mean()) if present.any() else 0.0


def pixel_accuracy(confusion: Confusion) -> float:
    """Share of labelled pixels that is right, 0..1."""
    return float(np.trace(confusion) / max(int(confusion.sum()), 1))
