"""The explorer and its panel: thresholds and routes act while the network runs, and what is shown is what came out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynroute_core.checkpoint import Snapshot, save_snapshot
from dynroute_core.data.dataset import Sample
from dynroute_core.data.labels import CITYSCAPES, IGNORE
from dynroute_core.experiments import experiment
from dynroute_core.model import Segmenter
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.record import CHECKPOINT, RECORD, write_record
from dynroute_core.space import ModelConfig
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_suite.explore.panel import Panel, summary
from dynroute_suite.explore.session import (
    GATES,
    Explorer,
    closing_up_to,
    of_samples,
    own_pictures,
    start,
    untrained,
)
from support.sample_models import set_gates, shaken
from support.sample_records import sample_record

CONFIG = ModelConfig(layers=4, channels=4, gate="full", stem_channels=8)
CPU = torch.device("cpu")
FLOAT32 = 1e-6


def samples(count: int = 2) -> list[Sample]:
    draw = np.random.default_rng(0)
    return [
        Sample(
            f"street {k}",
            draw.integers(0, 256, (64, 96, 3), dtype=np.uint8),
            draw.integers(0, len(CITYSCAPES), (64, 96), dtype=np.uint8),
        )
        for k in range(count)
    ]


@pytest.fixture
def session() -> Explorer:
    """Gates at tanh(1.5) = 0.905, those of layer 1 at 0.5: a threshold between closes these cells and no others."""
    chosen = replace(experiment("dynamic-c", profile="smoke"), model=CONFIG)
    model = shaken(Segmenter(CONFIG))
    set_gates(model, {cell: (0.5,) * len(model.space.paths(cell)) for cell in model.space.cells if cell.layer == 1})
    return Explorer(model.eval(), chosen, of_samples(samples()), CPU, trained=False)


def test_cost_and_diagram_agree(session: Explorer) -> None:
    for threshold in (0.0, 0.5):
        view = session.view(0, threshold=threshold)
        assert view.flow.total_macs == pytest.approx(view.macs, rel=FLOAT32)


def test_the_threshold_closes_paths_while_the_network_runs(session: Explorer) -> None:
    views = [session.view(0, threshold=t) for t in (0.0, 0.6, 1.0)]
    costs = [view.macs for view in views]
    assert costs[0] > costs[1] > costs[2]
    assert views[2].macs == views[2].flow.table.all_closed
    space = session.model.space
    assert {cell for cell, share in views[1].flow.closed.items() if share} == {c for c in space.cells if c.layer == 1}
    assert not np.array_equal(views[0].labels, views[2].labels)


def test_the_model_is_left_as_it_was(session: Explorer) -> None:
    before = session.view(0).macs
    session.view(0, threshold=0.9)
    assert session.view(0).macs == before
    with pytest.raises(RuntimeError, match="on purpose"), closing_up_to(session.model, 0.9):
        raise RuntimeError("on purpose")
    assert session.view(0).macs == before


def test_a_forced_route_runs_its_paths_alone(session: Explorer) -> None:
    everything = session.view(0, route="all-open")
    assert everything.macs == everything.flow.table.all_open
    nothing = session.view(0, route="all-closed")
    assert nothing.macs == nothing.flow.table.all_closed
    assert sum(nothing.flow.closed.values()) == 0, "a cell outside a forced route passes nothing on"
    assert GATES in session.route_names and "all-open" in session.route_names
    with pytest.raises(UsageError, match="unknown route"):
        session.view(0, route="all-opn")


def test_routes_that_do_not_fit_are_not_offered() -> None:
    shallow = replace(CONFIG, layers=1)
    chosen = replace(experiment("dynamic-c", profile="smoke"), model=shallow)
    session = Explorer(Segmenter(shallow).eval(), chosen, of_samples(samples()), CPU, trained=False)
    for name in session.route_names:
        session.view(0, route=name)
    assert "static-fcn32s" not in session.route_names


def test_truth_is_optional(tmp_path: Path, session: Explorer) -> None:
    Image.fromarray(samples()[0].image).save(tmp_path / "mine.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._mine.png").write_bytes(b"left by another system")
    mine = replace(session, pictures=own_pictures(tmp_path))
    assert mine.pictures.names == ("mine.png",)
    view = mine.view(0)
    assert (view.sample.label == IGNORE).all()
    assert view.miou_percent is None
    panel = Panel(mine, repeats=1)
    assert "the truth is not known" in panel.picture.alt
    assert "mIoU" not in panel.words.value
    with pytest.raises(BlockedError, match="holds no pictures"):
        own_pictures(tmp_path / "nowhere")


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_photograph_of_ones_own_stands_upright(tmp_path: Path, ending: str) -> None:
    """White above black, stored on its side as by a camera held upright."""
    upright = np.zeros((64, 48, 3), np.uint8)
    upright[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90° clockwise"
    Image.fromarray(np.rot90(upright)).save(tmp_path / f"held.{ending}", exif=exif)
    sample = own_pictures(tmp_path).open(0)
    assert sample.image.shape == (64, 48, 3) and sample.label.shape == (64, 48)
    # JPEG spreads an edge over its blocks of 8 pixels; away from it, colours are flat.
    assert sample.image[:24].min() > 250 and sample.image[40:].max() < 5


def test_the_panel_follows_its_controls(session: Explorer) -> None:
    panel = Panel(session, repeats=1)
    before = panel.view.macs
    assert summary(session, panel.view) in panel.words.value
    assert "the network is untrained" in panel.words.value.lower()
    panel.threshold.value = 0.6
    assert panel.view.macs < before
    assert panel.figure.value == panel.picture.html
    panel.image.value = 1
    assert panel.view.sample.name == "street 1"
    assert panel.picture.alt.startswith("street 1: photograph, truth, prediction and errors")
    panel.route.value = "all-open"
    assert panel.view.macs == panel.view.flow.table.all_open
    assert panel.threshold.disabled
    panel.route.value = GATES
    assert not panel.threshold.disabled


def test_an_error_for_users_becomes_words(session: Explorer) -> None:
    def broken(_: int) -> Sample:
        raise BlockedError("street 1 is truncated. Restore it.")

    panel = Panel(session, repeats=1)
    panel.explorer = replace(session, pictures=replace(session.pictures, open=broken))
    panel.image.value = 1
    assert "Restore it." in panel.words.value
    assert 'role="alert"' in panel.words.value


def test_a_finished_run_brings_its_settings_and_weights(tmp_path: Path) -> None:
    record = sample_record(CONFIG)
    model = untrained(replace(experiment("dynamic-a", profile="smoke"), model=CONFIG, seed=7))
    write_record(tmp_path / RECORD, record)
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    save_snapshot(tmp_path / CHECKPOINT, Snapshot(tensors, {"key": record.key, "trained": True}))
    session = start(experiment("dynamic-raw"), samples(), model=FinishedRun.open(tmp_path).model(), device=CPU)
    assert session.trained
    assert session.experiment.row == record.row
    assert all(torch.equal(a, b) for a, b in zip(session.model.parameters(), model.parameters(), strict=True))
    assert "untrained" not in summary(session, session.view(0))


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_thresholds_outside_the_factors_range_are_refused(session: Explorer, threshold: float) -> None:
    with pytest.raises(ValueError, match="lie from 0 to 1"):
        session.view(0, threshold=threshold)
