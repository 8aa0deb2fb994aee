"""The official Cityscapes evaluation (mcordts/cityscapesScripts) on folders of label-id PNGs, for the tests."""

from __future__ import annotations

import copy
from pathlib import Path

from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as script


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
