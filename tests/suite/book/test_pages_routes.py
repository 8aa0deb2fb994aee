"""What the pages on routes include: every number is the record's, nothing is shown that may not be."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynroute_core.runs.record import EXAMPLES, example_names
from dynroute_suite.book.pages import routes as fragments_routes
from dynroute_suite.book.pages.routes import FRAGMENTS
from dynroute_suite.report.numbers import macs_text, percent
from dynroute_suite.report.results import committed
from dynroute_suite.report.routed_runs import Run
from support.sample_runs import sample_runs


@pytest.fixture
def shown_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The fragments as they would be with the sample runs committed."""
    runs = list(sample_runs(tmp_path))
    monkeypatch.setattr(fragments_routes, "routed_runs", lambda: runs)
    return runs


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_a_fragment_is_the_same_each_time_and_its_html_has_no_blank_line(name: str) -> None:
    text = FRAGMENTS[name]()
    assert text.strip()
    assert text == FRAGMENTS[name]()
    for piece in text.split("\n\n"):
        for tag in ("figure", "div", "svg", "script", "form"):
            assert len(re.findall(f"<{tag}[ >]", piece)) == piece.count(f"</{tag}>"), f"a blank line cuts a {tag}"


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_without_records_a_fragment_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments_routes, "routed_runs", lambda: ())
    assert "No record" in FRAGMENTS[name]() or name == "routes-explorer-facts"


def test_the_gallery_names_cost_and_miou_of_every_example(shown_runs: list[Run]) -> None:
    text = unescape(FRAGMENTS["routes-gallery"]())
    for run in shown_runs:
        facts = {image.name: image for image in run.record.images}
        assert macs_text(run.record.costs.paper.mean_macs) in text
        for name in example_names(run.record).values():
            assert f">{name}</a>, mIoU {percent(facts[name].miou_percent)} %" in text
            assert f"record={run.identity}&image={name}" in text


def test_pictures_appear_for_generated_streets_alone(shown_runs: list[Run]) -> None:
    run = shown_runs[0]
    for role in example_names(run.record):
        folder = run.folder / EXAMPLES / role
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(folder / "image.png")
        for kind in ("truth", "prediction"):
            Image.fromarray(np.zeros((16, 32), np.uint8)).save(folder / f"{kind}.png")
    assert FRAGMENTS["routes-gallery"]().count("data:image/jpeg") == len(example_names(run.record))
    for name in ("camvid", "cityscapes"):
        shown_runs[0] = replace(run, record=replace(run.record, data=replace(run.record.data, name=name)))
        assert "data:image" not in FRAGMENTS["routes-gallery"]()


def test_no_photograph_is_committed() -> None:
    """CamVid's and Cityscapes' pictures have terms of their own."""
    for run in committed():
        if run.record.data.name != "streets":
            assert not (run.folder / EXAMPLES).exists()


def test_a_record_whose_images_cost_alike_gets_no_correlations(shown_runs: list[Run]) -> None:
    run = shown_runs[0]
    alike = tuple(replace(image, paper_macs=1e6) for image in run.record.images)
    paper = replace(run.record.costs.paper, min_macs=1e6, max_macs=1e6, mean_macs=1e6)
    record = replace(run.record, images=alike, costs=replace(run.record.costs, paper=paper))
    shown_runs[:] = [replace(run, record=record)]
    assert "None is shown" in FRAGMENTS["routes-cost-classes"]()
    assert "<figure" not in FRAGMENTS["routes-cost-classes"]()
