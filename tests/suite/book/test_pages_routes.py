"""What the pages on routes include: every number is the record's, nothing is shown that may not be."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynroute_core.runs.record import EXAMPLES, example_names
from dynroute_suite.book.fragments import fragments
from dynroute_suite.book.pages import routes
from dynroute_suite.report.numbers import macs_text, percent
from dynroute_suite.report.results import Results
from support.sample_examples import write_examples
from support.sample_runs import sample_runs


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """The results as they would be with the sample runs committed."""
    sample_runs(tmp_path)
    return Results(tmp_path)


@pytest.mark.parametrize("name", [name for name in fragments() if name.startswith("routes/")])
def test_without_records_a_fragment_says_so(name: str, tmp_path: Path) -> None:
    assert "No record" in fragments()[name](Results(tmp_path)) or name == "routes/explorer_facts"


def test_the_gallery_names_cost_and_miou_of_every_example(results: Results) -> None:
    text = unescape(routes.gallery(results))
    for run in results.routed:
        facts = {image.name: image for image in run.record.images}
        assert macs_text(run.record.costs.paper.mean_macs) in text
        for name in example_names(run.record).values():
            assert f">{name}</a>, mIoU {percent(facts[name].miou_percent)} %" in text
            assert f"record={run.identity}&image={name}" in text


def test_pictures_appear_for_generated_streets_alone(results: Results) -> None:
    run = results.routed[0]
    for role in example_names(run.record):
        folder = run.folder / EXAMPLES / role
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(folder / "image.png")
        for kind in ("truth", "prediction"):
            Image.fromarray(np.zeros((16, 32), np.uint8)).save(folder / f"{kind}.png")
    assert routes.gallery(results).count("data:image/jpeg") == len(example_names(run.record))
    for name in ("camvid", "cityscapes"):
        record = replace(run.record, data=replace(run.record.data, name=name))
        results.routed = (replace(run, record=record), *results.routed[1:])
        assert "data:image" not in routes.gallery(results)


def test_no_photograph_is_committed() -> None:
    """CamVid's and Cityscapes' pictures have terms of their own."""
    for run in Results().committed:
        if run.record.data.name != "streets":
            assert not (run.folder / EXAMPLES).exists()


def test_a_record_whose_images_cost_alike_gets_no_correlations(results: Results) -> None:
    run = results.routed[0]
    alike = tuple(replace(image, paper_macs=1e6) for image in run.record.images)
    paper = replace(run.record.costs.paper, min_macs=1e6, max_macs=1e6, mean_macs=1e6)
    record = replace(run.record, images=alike, costs=replace(run.record.costs, paper=paper))
    results.routed = (replace(run, record=record),)
    assert "None is shown" in routes.cost_by_class(results)
    assert "<figure" not in routes.cost_by_class(results)


def test_the_front_page_shows_the_best_run_of_streets_that_has_its_pictures(results: Results) -> None:
    assert "No record" in routes.front_picture(results)
    (run,) = (run for run in results.routed if run.record.row == routes.FRONT_ROW)
    write_examples(run.folder, run.record)
    shown = unescape(routes.front_picture(results))
    assert f"{run.record.row} on streets: {percent(run.record.metrics.miou_percent)} % mIoU" in shown
    assert shown.count("<image ") == 9 and 'aria-label="' in shown and f"[Record]({run.address})" in shown
