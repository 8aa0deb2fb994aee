"""The committed records: each can be read, and agrees with its own routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.runs.record import CURVE, RECORD, ROUTES, read_curve, read_record, read_routes
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_suite.report.results import Results
from support.sample_records import sample_record
from support.sample_runs import sample_runs, write_run

ROOT = Path(__file__).parents[3]
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob(f"*/*/{RECORD}"))


def test_there_are_records():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT / "results").as_posix())
def test_a_committed_record(folder):
    record, routes = read_record(folder / RECORD), read_routes(folder / ROUTES)
    assert folder.parent.name == record.row == routes.row
    scenes = record.config["data"].get("scenes", "ordinary")
    kind = "" if scenes == "ordinary" else f"-{scenes}"
    assert folder.name == f"{record.profile}-{record.data.name}-seed{record.seed}{kind}"
    assert not record.source.dirty
    assert record.key == routes.key
    assert read_curve(folder / CURVE)[-1].iteration == record.training.iterations - 1
    sums = [
        [sum(counts) for counts in zip(*(getattr(image, kind) for image in routes.images), strict=True)]
        for kind in ("true_positive", "false_positive", "false_negative")
    ]
    iou = [hit / (hit + fp + fn) for hit, fp, fn in zip(*sums, strict=True) if hit + fp + fn]
    assert record.metrics.miou_percent == pytest.approx(100 * sum(iou) / len(iou), rel=1e-12)


def test_a_broken_record_is_named(tmp_path):
    folder = tmp_path / "dynamic-a" / "demo-streets-seed0"
    folder.mkdir(parents=True)
    (folder / RECORD).write_text("{}")
    with pytest.raises(BlockedError, match=RECORD):
        _ = Results(tmp_path).committed


def test_hidden_files_are_no_speed_records(tmp_path):
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed/._operations.json").write_bytes(b"left by another system")
    assert Results(tmp_path).speed == ()


def test_every_record_is_read_once(tmp_path, monkeypatch):
    sample_runs(tmp_path)
    read = []

    def noting(path):
        read.append(path)
        return read_record(path)

    monkeypatch.setattr("dynroute_suite.report.results.read_record", noting)
    results = Results(tmp_path)
    for _ in range(2):
        assert {one.record.row for one in results.committed} == {"dynamic-a", "dynamic-c", "network-fix"}
        assert {one.record.row for one in results.routed} == {"dynamic-a", "dynamic-c"}
        assert results.of_row("dynamic-a") == results.selected(rows=["dynamic-a"])
    assert len(read) == len(set(read)) == 3


def test_rows_and_profiles_can_be_chosen(tmp_path):
    for row, profile in (("dynamic-a", "demo"), ("dynamic-c", "demo"), ("dynamic-a", "smoke")):
        write_run(tmp_path, sample_record(row=row, profile=profile))
    results = Results(tmp_path)
    assert [one.record.row for one in results.selected(rows=["dynamic-c"])] == ["dynamic-c"]
    assert len(results.selected(profile="smoke")) == 1
    with pytest.raises(UsageError, match="Did you mean 'dynamic-c'"):
        results.selected(rows=["dynamic-cc"])
