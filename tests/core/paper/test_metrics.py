"""The confusion matrix and what is read off it, by hand and against a pixel-by-pixel count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynroute_core.metrics import (
    class_iou,
    confusion_matrix,
    frequency_weighted_iou,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
)

EXACT = 1e-12


def matrix(*rows):
    return np.array(rows, dtype=np.int64)


def test_rows_are_labels_and_columns_predictions():
    labels = torch.tensor([[0, 0, 1], [2, 255, 1]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 1], [0, 2, 1]])
    assert confusion_matrix(predicted, labels, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_metrics_by_hand():
    confusion = matrix([3, 1, 0], [2, 4, 0], [0, 0, 0])  # class 2 occurs nowhere
    assert class_iou(confusion).tolist() == pytest.approx([3 / 6, 4 / 7, np.nan], nan_ok=True, rel=EXACT)
    assert mean_iou(confusion) == pytest.approx((3 / 6 + 4 / 7) / 2, rel=EXACT)
    assert frequency_weighted_iou(confusion) == pytest.approx(0.4 * 3 / 6 + 0.6 * 4 / 7, rel=EXACT)
    assert mean_accuracy(confusion) == pytest.approx((3 / 4 + 4 / 6) / 2, rel=EXACT)
    assert pixel_accuracy(confusion) == pytest.approx(0.7, rel=EXACT)


def test_a_class_that_is_only_predicted_counts_as_zero():
    confusion = matrix([3, 1], [0, 0])
    assert class_iou(confusion).tolist() == [0.75, 0.0]
    assert mean_iou(confusion) == 0.375
    assert mean_accuracy(confusion) == 0.75  # but there is no label of it to be accurate about
    assert frequency_weighted_iou(confusion) == 0.75


def test_a_class_that_is_never_hit():
    assert class_iou(matrix([0, 2], [0, 2])).tolist() == [0.0, 0.5]


def test_nothing_labelled_gives_zeros():
    empty = confusion_matrix(torch.zeros(3, 3).long(), torch.full((3, 3), 255), 4).numpy()
    assert empty.sum() == 0
    for metric in (mean_iou, frequency_weighted_iou, mean_accuracy, pixel_accuracy):
        assert metric(empty) == 0
    assert np.isnan(class_iou(empty)).all()


@pytest.mark.parametrize("label", [19, 20, 254, -1])
@pytest.mark.parametrize("predicted", [0, 18])
def test_a_label_that_is_no_class_is_an_error(label, predicted):
    labels = torch.zeros(4, 4, dtype=torch.int64)
    labels[1, 2] = label
    with pytest.raises(ValueError, match=r"outside 0\.\.18"):
        confusion_matrix(torch.full((4, 4), predicted), labels, 19)


@pytest.mark.parametrize("predicted", [19, -1])
def test_a_prediction_that_is_no_class_is_an_error(predicted):
    """It would be counted as another class's: label 0, prediction 19 lies where label 1, prediction 0 does."""
    with pytest.raises(ValueError, match=r"outside 0\.\.18"):
        confusion_matrix(torch.full((2, 2), predicted), torch.zeros(2, 2, dtype=torch.uint8), 19)
    ignored = torch.full((2, 2), 255, dtype=torch.uint8)
    assert confusion_matrix(torch.full((2, 2), predicted), ignored, 19).sum() == 0


@pytest.mark.parametrize("seed", range(5))
def test_against_a_count_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    classes = 7
    labels = rng.choice([0, 1, 2, 4, 5, 255], size=(40, 30))  # 3 and 6 are never labelled
    predicted = rng.choice([0, 1, 2, 3, 5], size=(40, 30))  # 4 and 6 are never predicted
    confusion = confusion_matrix(torch.from_numpy(predicted), torch.from_numpy(labels), classes).numpy()
    seen = labels != 255
    truth = {c: set(np.flatnonzero((labels == c) & seen)) for c in range(classes)}
    guess = {c: set(np.flatnonzero((predicted == c) & seen)) for c in range(classes)}
    for c in range(classes):
        for d in range(classes):
            assert confusion[c, d] == len(truth[c] & guess[d])
    iou = {c: len(truth[c] & guess[c]) / len(truth[c] | guess[c]) for c in range(classes) if truth[c] | guess[c]}
    accuracy = [len(truth[c] & guess[c]) / len(truth[c]) for c in range(classes) if truth[c]]
    assert mean_iou(confusion) == pytest.approx(sum(iou.values()) / len(iou), rel=EXACT)
    assert mean_accuracy(confusion) == pytest.approx(sum(accuracy) / len(accuracy), rel=EXACT)
    assert pixel_accuracy(confusion) == pytest.approx((labels == predicted)[seen].mean(), rel=EXACT)
    weighted = sum(len(truth[c]) / seen.sum() * iou.get(c, 0) for c in range(classes))
    assert frequency_weighted_iou(confusion) == pytest.approx(weighted, rel=EXACT)
