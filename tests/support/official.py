"""The official Cityscapes tools (mcordts/cityscapesScripts), for the tests: the evaluation on folders of label-id PNGs,
and the drawing of polygon files."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as script
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from cityscapesscripts.preparation.json2labelImg import createLabelImage


def official_scores(predictions: Path, ground_truth: Path) -> tuple[dict[str, float], float]:
    """IoU per class of the benchmark (NaN where it is absent), and their average, as the server computes them.

    Each `*_gtFine_labelIds.png` below `ground_truth` is paired with its prediction as the server pairs them. Ends with
    SystemExit where a file is missing or does not fit.
    """
    settings = copy.copy(script.args)
    settings.predictionPath, settings.predictionWalk = str(predictions), None
    settings.evalInstLevelScore = settings.JSONOutput = False
    settings.quiet = True
    truths = sorted(str(path) for path in ground_truth.rglob("*_gtFine_labelIds.png"))
    assert truths
    pairs = [script.getPrediction(settings, truth) for truth in truths]
    result = script.evaluateImgLists(pairs, truths, settings)
    ignored = {label.name for label in script.labels if label.ignoreInEval}
    scores = {name: score for name, score in result["classScores"].items() if name not in ignored}
    return scores, result["averageScoreClasses"]


def official_drawing(polygons: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Label ids and instance ids, H×W, as the benchmark's own tools draw them from a `*_gtFine_polygons.json`."""
    annotation = Annotation()
    annotation.fromJsonFile(str(polygons))
    labels, instances = createLabelImage(annotation, "ids"), createInstanceImage(annotation, "ids")
    return np.asarray(labels, np.int64), np.asarray(instances, np.int64)
