"""A run at a glance: its numbers are the record's, and no demo passes for a published result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dynroute_core.runs.record import EXAMPLES, Record, example_names
from dynroute_core.system.errors import BlockedError
from dynroute_suite.figures.raster import png
from dynroute_suite.figures.summary import NAMES, summary_figure
from dynroute_suite.report.flow import config_of
from dynroute_suite.report.numbers import gmacs, macs_of
from support.pictures import words
from support.sample_examples import write_examples
from support.sample_records import published_protocol, sample_record, sample_routes
from support.sample_runs import SMALL


@pytest.fixture(params=[6, 2, 1], ids=["six images", "two", "one"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Record:
    """A run with this many images, whose folder holds its examples."""
    made = sample_record(SMALL, images=request.param)
    write_examples(tmp_path, made)
    return made


def test_each_example_stands_with_its_pictures_route_and_cost(record: Record, tmp_path: Path) -> None:
    shown = summary_figure(tmp_path, record, sample_routes(SMALL, images=len(record.images)))
    text = words(shown)
    for role, name in example_names(record).items():
        facts = next(image for image in record.images if image.name == name)
        assert NAMES[role] in text and name in text
        assert f"mIoU {facts.miou_percent:.1f} %" in text
        assert macs_of(facts.paper_macs, record.costs.paper.all_open_macs) in text
        # Of the labelled pixels, half are wrong.
        assert f"{name}: 50 % of its labelled pixels are wrong" in shown.alt
    images = ElementTree.fromstring(shown.svg).findall(".//{http://www.w3.org/2000/svg}image")
    assert len(images) == 3 * len(example_names(record))
    assert png(shown, width_px=600), "every sign can be drawn as pixels"


def test_the_title_says_what_the_run_reached_and_that_a_demo_does_not_compare(record: Record, tmp_path: Path) -> None:
    shown = summary_figure(tmp_path, record, sample_routes(SMALL, images=len(record.images)))
    cost = gmacs(record.costs.paper.mean_macs)
    title = f"dynamic-a on streets: {record.metrics.miou_percent:.1f} % mIoU at {cost} GFLOPs"
    assert title in words(shown) and title in shown.alt
    assert "Demo profile, not comparable with published numbers" in words(shown)
    assert "not comparable with published numbers" in shown.alt


def test_a_run_by_the_published_protocol_compares(tmp_path: Path) -> None:
    record = published_protocol(sample_record(SMALL))
    write_examples(tmp_path, record)
    routes = sample_routes(config_of(record), images=1)
    (one,) = routes.images
    named = replace(routes, images=tuple(replace(one, name=image.name) for image in record.images))
    shown = summary_figure(tmp_path, record, named)
    assert "Full profile; 500 images, seed 0" in words(shown) and "not comparable" not in words(shown)


def test_a_missing_picture_is_named(record: Record, tmp_path: Path) -> None:
    (tmp_path / EXAMPLES / "cheapest" / "truth.png").unlink()
    with pytest.raises(BlockedError, match=r"cannot read .*truth\.png"):
        summary_figure(tmp_path, record, sample_routes(SMALL, images=len(record.images)))
