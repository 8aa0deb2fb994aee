"""Examples: image, truth, prediction and errors over the route; files that are none are named."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dynroute_core.runs.record import EXAMPLES, Record, example_names
from dynroute_core.space import ModelConfig
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_suite.figures.examples import example_figure, street_figure
from dynroute_suite.report.numbers import macs_text
from support.pictures import words
from support.sample_examples import write_examples
from support.sample_records import sample_record, sample_routes

SMALL = ModelConfig(layers=4, channels=4, gate="small")


@pytest.fixture(scope="module")
def record() -> Record:
    return sample_record(SMALL)


@pytest.fixture
def run_folder(tmp_path: Path, record: Record) -> Path:
    write_examples(tmp_path, record)
    return tmp_path


def test_example_holds_four_pictures_and_the_route(run_folder: Path, record: Record) -> None:
    name = example_names(record)["dearest"]
    facts = next(image for image in record.images if image.name == name)
    shown = example_figure(run_folder, record, sample_routes(SMALL), "dearest")
    root = ElementTree.fromstring(shown.svg)
    images = [image.get("href", "") for image in root.iter("{http://www.w3.org/2000/svg}image")]
    assert [address[:16] for address in images] == ["data:image/jpeg;", *["data:image/png;b"] * 3]
    # Three quarters of the pixels are labelled; the left half of them is wrong.
    assert "errors: 50.0 % of labelled pixels" in words(shown)
    assert f"{name}, dearest: {macs_text(facts.paper_macs)}, mIoU {facts.miou_percent:.1f} %" in words(shown)
    assert "Its route: " in shown.alt
    assert shown == example_figure(run_folder, record, sample_routes(SMALL), "dearest")


def test_example_errors_name_file_and_way_out(run_folder: Path, record: Record) -> None:
    routes = sample_routes(SMALL)
    with pytest.raises(UsageError, match="cheapest"):
        example_figure(run_folder, record, routes, "cheap")
    source = run_folder / EXAMPLES / "median"
    Image.fromarray(np.full((40, 80), 77, np.uint8)).save(source / "truth.png")
    with pytest.raises(BlockedError, match=r"truth\.png holds 77"):
        example_figure(run_folder, record, routes, "median")
    Image.fromarray(np.zeros((20, 80), np.uint8)).save(source / "truth.png")
    with pytest.raises(BlockedError, match=r"prediction\.png"):
        example_figure(run_folder, record, routes, "median")
    (source / "image.png").write_bytes(b"no picture")
    with pytest.raises(BlockedError, match=r"image\.png is no readable picture"):
        example_figure(run_folder, record, routes, "median")
    (source / "image.png").unlink()
    with pytest.raises(BlockedError, match=r"cannot read .*image\.png"):
        example_figure(run_folder, record, routes, "median")


def test_the_short_example_shows_image_and_prediction_and_says_how_much_is_wrong(
    run_folder: Path, record: Record
) -> None:
    shown = street_figure(run_folder, record, sample_routes(SMALL), "dearest")
    images = ElementTree.fromstring(shown.svg).iter("{http://www.w3.org/2000/svg}image")
    assert [image.get("href", "")[:16] for image in images] == ["data:image/jpeg;", "data:image/png;b"]
    assert "50 % of labelled pixels wrong" in words(shown) and "50 % of labelled pixels wrong" in shown.alt
