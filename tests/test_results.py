"""The committed records: each can be read, agrees with its own routes, and stands in the README as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.record import CURVE, RECORD, ROUTES, Record, read_curve, read_record, read_routes

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob(f"*/*/{RECORD}"))


def readme_line(record: Record) -> str:
    """A record's row of the README's table."""
    minutes = (record.durations.train_s + record.durations.precise_bn_s + record.durations.evaluate_s) / 60
    cells = (
        f"`{record.row}`",
        record.profile,
        record.data.name,
        record.seed,
        f"{record.metrics.miou_percent:.1f}",
        f"{record.costs.paper.mean_macs / 1e9:.3f}",
        f"{record.costs.paper.min_macs / 1e9:.3f}–{record.costs.paper.max_macs / 1e9:.3f}",
        f"{record.costs.paper.all_open_macs / 1e9:.3f}",
        f"{record.costs.repo.mean_macs / 1e9:.3f}",
        f"{minutes:.1f}",
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


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


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT / "results").as_posix())
def test_the_readme_says_what_the_record_says(folder):
    assert readme_line(read_record(folder / RECORD)) in (ROOT / "README.md").read_text()
