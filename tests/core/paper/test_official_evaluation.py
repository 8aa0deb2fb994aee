"""Our metrics against the official Cityscapes evaluation, on predictions over generated sets."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynroute_core.data.labels import CITYSCAPES, CITYSCAPES_LABELS, label_id_to_train_id, train_id_to_label_id
from dynroute_core.metrics import class_iou, confusion_matrix, mean_iou

pytestmark = pytest.mark.suite  # cityscapesScripts is not among the core's dependencies

EQUAL = 1e-9  # both divide the same integers once; the means add nineteen quotients
IGNORED_IDS = [label.label_id for label in CITYSCAPES_LABELS if label.train_id == 255 and label.label_id >= 0]


@pytest.fixture
def official_scores():
    from support.official import official_scores

    return official_scores


def write_pairs(folder: Path, truths: list[np.ndarray], predictions: list[np.ndarray]) -> None:
    """Label ids and predicted train ids as the server wants them: Cityscapes names, label ids."""
    for kind in ("truth", "said"):
        (folder / kind).mkdir(parents=True)
    for number, (truth, said) in enumerate(zip(truths, predictions, strict=True)):
        stem = f"town_{number:06d}_000019"
        Image.fromarray(truth).save(folder / "truth" / f"{stem}_gtFine_labelIds.png")
        Image.fromarray(train_id_to_label_id[said]).save(folder / "said" / f"{stem}_labelIds.png")


def our_scores(truths: list[np.ndarray], predictions: list[np.ndarray]) -> tuple[dict[str, float], float]:
    total = np.zeros((19, 19), dtype=np.int64)
    for truth, said in zip(truths, predictions, strict=True):
        total += confusion_matrix(
            torch.from_numpy(said), torch.from_numpy(label_id_to_train_id[truth]), len(CITYSCAPES)
        ).numpy()
    return dict(zip(CITYSCAPES.names, class_iou(total).tolist(), strict=True)), mean_iou(total)


def assert_equal(ours: tuple[dict[str, float], float], theirs: tuple[dict[str, float], float]) -> None:
    assert ours[0] == pytest.approx(theirs[0], abs=EQUAL, nan_ok=True)
    assert ours[1] == pytest.approx(theirs[1], abs=EQUAL)


def generated(seed: int, *, labelled: list[int], predicted: list[int], images: int = 5) -> tuple[list, list]:
    """Truths of label ids and predictions of train ids, of several sizes, right in about half the pixels."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(images):
        size = tuple(rng.integers(20, 70, 2))
        truth = rng.choice(labelled, size).astype(np.uint8)
        guess = rng.choice(predicted, size).astype(np.uint8)
        right = label_id_to_train_id[truth]
        keep = (rng.random(size) < 0.5) & np.isin(right, predicted)
        truths.append(truth)
        predictions.append(np.where(keep, right, guess).astype(np.uint8))
    return truths, predictions


TRAINED = train_id_to_label_id.tolist()
CASES = {
    "every class": (TRAINED, list(range(19))),
    "every id, ignored ones too": (TRAINED + IGNORED_IDS, list(range(19))),
    "absent from labels and predictions": (TRAINED[:12] + IGNORED_IDS, list(range(12))),
    "predicted, never labelled": (TRAINED[:5] + IGNORED_IDS, list(range(19))),
    "labelled, never predicted": (TRAINED + IGNORED_IDS, [0, 1, 2]),
    "predicted on ignored pixels alone": ([TRAINED[0], 0], [0, 18]),
}


def test_the_label_tables_are_the_official_ones():
    from cityscapesscripts.helpers.labels import labels as official_labels

    theirs = {
        label.name: (label.id, label.trainId, label.category, label.hasInstances, label.color)
        for label in official_labels
    }
    ours = {
        label.name: (
            label.label_id,
            label.train_id if label.label_id >= 0 else -1,
            label.category,
            label.has_instances,
            label.color,
        )
        for label in CITYSCAPES_LABELS
    }
    assert ours == theirs
    evaluated = {label.id for label in official_labels if not label.ignoreInEval}
    assert evaluated == set(TRAINED)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_class_ious_and_their_mean_are_the_official_ones(case, seed, tmp_path, official_scores):
    labelled, predicted = CASES[case]
    truths, predictions = generated(seed, labelled=labelled, predicted=predicted)
    if case == "predicted on ignored pixels alone":
        predictions = [np.where(truth == 0, 18, 0).astype(np.uint8) for truth in truths]
    write_pairs(tmp_path, truths, predictions)
    ours, theirs = our_scores(truths, predictions), official_scores(tmp_path / "said", tmp_path / "truth")
    assert_equal(ours, theirs)
    absent = [name for name, score in theirs[0].items() if math.isnan(score)]
    seen = set(label_id_to_train_id[np.unique(np.concatenate([t.ravel() for t in truths]))].tolist()) - {255}
    said = {
        int(v) for t, p in zip(truths, predictions, strict=True) for v in np.unique(p[label_id_to_train_id[t] != 255])
    }
    assert len(absent) == 19 - len(seen | said)  # NaN exactly where a class is in neither


def test_nothing_labelled_differs_by_convention_alone(tmp_path, official_scores):
    """The official average of no class is NaN; ours is 0, because a record holds finite numbers only."""
    truths, predictions = generated(0, labelled=[0, 4], predicted=[0, 1])
    write_pairs(tmp_path, truths, predictions)
    scores, mean = official_scores(tmp_path / "said", tmp_path / "truth")
    ours, our_mean = our_scores(truths, predictions)
    assert all(math.isnan(score) for score in (*scores.values(), *ours.values()))
    assert math.isnan(mean) and our_mean == 0


def test_the_comparison_can_fail(tmp_path, official_scores):
    """One pixel in thousands moves an IoU by far more than the tolerance."""
    truths, predictions = generated(3, labelled=TRAINED, predicted=list(range(19)))
    write_pairs(tmp_path, truths, predictions)
    predictions[0][0, 0] = (predictions[0][0, 0] + 1) % 19
    with pytest.raises(AssertionError):
        assert_equal(our_scores(truths, predictions), official_scores(tmp_path / "said", tmp_path / "truth"))
