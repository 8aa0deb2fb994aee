"""The committed records: each can be read, and agrees with its own routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.runs.record import CURVE, RECORD, ROUTES, read_curve, read_record, read_routes

ROOT = Path(__file__).parents[3]
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob(f"*/*/{RECORD}"))


def test_there_are_records():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT / "results").as_posix())
def test_a_committed_record(folder):
    record, routes = read_record(folder / RECORD), read_routes(folder / ROUTES)
    assert folder.parent.name == record.row == routes.row
    assert folder.name == f"{record.profile}-{record.data.name}-seed{record.seed}"
    assert not record.source.dirty
    assert record.key == routes.key
    assert read_curve(folder / CURVE)[-1].iteration == record.training.iterations - 1
    sums = [
        [sum(counts) for counts in zip(*(getattr(image, kind) for image in routes.images), strict=True)]
        for kind in ("true_positive", "false_positive", "false_negative")
    ]
    iou = [hit / (hit + fp + fn) for hit, fp, fn in zip(*sums, strict=True) if hit + fp + fn]
    assert record.metrics.miou_percent == pytest.approx(100 * sum(iou) / len(iou), rel=1e-12)
