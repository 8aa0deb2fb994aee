"""Common networks, from a finished run of a dynamic row to a record of their own: found, counted, pruned, trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dynroute_core.cell import OPEN
from dynroute_core.checkpoint import Snapshot, load_snapshot, save_snapshot
from dynroute_core.data.dataset import Sample
from dynroute_core.evaluate import EvaluateConfig, as_input
from dynroute_core.experiments import CommonNetwork, Experiment, experiment, with_settings
from dynroute_core.model import Segmenter
from dynroute_core.runs import common_networks as common_module
from dynroute_core.runs.common_networks import (
    OPEN_PATHS,
    OpenPaths,
    copy_weights,
    count_open,
    own_settings,
    source_of,
    with_common_paths,
)
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.pipeline import RunProgress, run
from dynroute_core.runs.plan import plan
from dynroute_core.runs.record import CHECKPOINT, RECORD, read_record, read_routes
from dynroute_core.space import RoutingSpace, path_name
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_suite.report.comparable import changed_settings
from dynroute_suite.report.flow import config_of
from support.sample_models import images, mixed_model, shaken, small_config
from support.sample_records import sample_record
from support.sample_tiny_runs import TINY, StopHere, assert_same_run

CPU = torch.device("cpu")


def nothing(_: int) -> None:
    pass


# Which run


def test_a_common_networks_source_has_its_settings():
    changes = {"model.layers": "5", "train.lr": "0.3", "train.scales": "[64]", "data.val_images": "2"}
    for profile in ("smoke", "demo"):
        chosen = with_settings(experiment("common-b", profile=profile, seed=3), changes | {"common.share": "0.9"})
        source = source_of(chosen)
        assert source == with_settings(experiment("dynamic-b", profile=profile, seed=3), changes)
        budget = source.train.budget
        assert (source.model.gate, budget and budget.target, source.seed) == ("small", 0.1, 3)


def test_own_settings_are_what_was_set():
    changes = {"train.lr": "0.3", "train.amp": "true", "train.scales": "[64]", "data.val_images": "2"}
    assert own_settings(with_settings(experiment("common-b"), changes)) == changes
    assert own_settings(experiment("dynamic-a", profile="full", data="camvid", seed=3)) == {}
    nominal = {"evaluate.nominal_height": "32", "model.operations": '["conv_3x3_basic"]'}
    assert own_settings(with_settings(experiment("network-fix", profile="smoke"), nominal)) == nominal


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"common.source": "dynamic-d"}, r"unknown row 'dynamic-d'\. Did you mean"),
        ({"common.source": "network-fix"}, r"common\.source=network-fix has no gates"),
        ({"common.source": "common-b"}, r"common\.source=common-b has no gates"),
        (
            {"model.layers": "1", "model.paths": '["init>keep", "0.0>keep"]'},
            r"model\.paths of a common network come from",
        ),
    ],
)
def test_sources_that_are_none(settings, message):
    with pytest.raises(UsageError, match=message):
        source_of(with_settings(experiment("common-a"), settings))


# What is open


def samples(count: int) -> list[Sample]:
    pictures = images(count, 64, 64).permute(0, 2, 3, 1).numpy()
    return [Sample(str(number), picture, picture[..., 0]) for number, picture in enumerate(pictures)]


def test_counting_is_the_sum_over_single_images():
    """Open: the cell is, and the factor above the threshold; passed on: a closed cell's keep."""
    model = mixed_model(small_config(layers=5), seed=9)
    config = EvaluateConfig()
    seen: list[int] = []
    total, opened, passed_on = count_open(model, samples(6), config, CPU, seen.append)
    assert total == 6
    assert seen == [1, 2, 3, 4, 5, 6]
    by_hand = {path_name(path): 0 for path in model.space.all_paths}
    passing = dict(by_hand)
    for sample in samples(6):
        with torch.inference_mode():
            gates = model(as_input(sample, config, CPU)).gates
        for cell, path in model.space.all_paths:
            factor = gates[cell].factors[0, model.space.paths(cell).index(path)].item()
            kind = by_hand if gates[cell].state.item() == OPEN else passing
            kind[f"{cell}>{path}"] += factor > 1e-4
    assert opened == by_hand
    assert passed_on == passing
    assert sum(passing.values()) > 0, "no closed cell among the samples"
    assert len(set(by_hand.values())) > 2, "the samples do not differ"
    assert all(name.endswith("keep") for name, count in passing.items() if count)


def chosen_of(layers: int, **common: object) -> Experiment:
    chosen = with_settings(experiment("common-a", profile="smoke"), {"model.layers": str(layers)})
    return replace(chosen, common=replace(CommonNetwork(source="dynamic-a"), **common))


def counts_of(layers: int, images: int, opened: dict[str, int], passed_on: dict[str, int] | None = None) -> OpenPaths:
    none = {path_name(path): 0 for path in RoutingSpace(layers, 4).all_paths}
    return OpenPaths(
        row="dynamic-a",
        key="k",
        train_fingerprint="f",
        images=images,
        opened=none | opened,
        passed_on=none | (passed_on or {}),
    )


WAY = {"init>down": 4, "0.1>keep": 3, "0.1>up": 2, "1.1>keep": 3, "1.0>keep": 4}


def test_the_paths_are_those_open_in_more_than_the_share():
    counts = counts_of(2, 4, WAY)
    assert with_common_paths(chosen_of(2), counts).model.paths == ("init>down", "0.1>keep", "1.1>keep")
    lower = with_common_paths(chosen_of(2, share=0.49), counts)
    assert lower.model.paths == ("init>down", "0.1>keep", "0.1>up", "1.0>keep", "1.1>keep")
    assert lower.common.share == 0.49
    assert lower.model.gate == "none"


def test_what_closed_cells_pass_on_counts_when_asked():
    counts = counts_of(2, 4, {"0.0>keep": 4, "1.0>keep": 2}, {"init>keep": 4, "1.0>keep": 1})
    with pytest.raises(UsageError, match=r"more than 0\.5 of dynamic-a's 4 images: .*common\.passed_on=true"):
        with_common_paths(chosen_of(2), counts)
    made = with_common_paths(chosen_of(2, passed_on=True), counts)
    assert made.model.paths == ("init>keep", "0.0>keep", "1.0>keep")


def test_counts_of_another_network_are_refused():
    with pytest.raises(BlockedError, match="another network"):
        with_common_paths(chosen_of(3), counts_of(2, 4, WAY))
    with pytest.raises(BlockedError, match="another network"):
        with_common_paths(chosen_of(2), counts_of(2, 0, WAY))


# Weights


def test_the_kept_cells_keep_their_weights_and_the_gates_are_dropped(tmp_path: Path):
    whole = shaken(Segmenter(small_config(layers=2, gate="small")))
    tensors = {f"model/{name}": tensor for name, tensor in whole.state_dict().items()}
    run = FinishedRun(tmp_path, sample_record(whole.config))
    facts = {"key": run.record.key, "trained": True}
    save_snapshot(tmp_path / CHECKPOINT, Snapshot(tensors | {"momentum/x": torch.zeros(1)}, facts))
    fixed = Segmenter(small_config(layers=2, gate="none", paths=("init>down", "0.1>keep", "1.1>keep")))
    copy_weights(fixed, run)
    theirs = whole.state_dict()
    assert not any(".gate." in name for name in fixed.state_dict())
    for name, tensor in fixed.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    wider = Segmenter(small_config(layers=2, gate="none", channels=8))
    with pytest.raises(BlockedError, match=r"lacks \d+ of the network's tensors, stem"):
        copy_weights(wider, run)


# The whole way. Seconds.

SHARE = {"common.share": "0.1", "common.passed_on": "true"}  # so that something is left after eight iterations


def dynamic() -> Experiment:
    return with_settings(experiment("dynamic-a", profile="smoke"), TINY)


def tiny_common(**more: str) -> Experiment:
    return with_settings(
        experiment("common-a", profile="smoke"), TINY | SHARE | {f"common.{k}": v for k, v in more.items()}
    )


@pytest.fixture(scope="module")
def source(smoke_streets: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run(dynamic(), data_root=smoke_streets, out=tmp_path_factory.mktemp("common"), device="cpu")


@pytest.fixture(scope="module")
def finished(source: FinishedRun, smoke_streets: Path) -> FinishedRun:
    return run(tiny_common(), data_root=smoke_streets, out=source.folder.parents[1], device="cpu")


def test_without_its_source_it_is_blocked_with_the_command_to_run_first(smoke_streets, tmp_path):
    for do in (plan, run):
        with pytest.raises(BlockedError) as error:
            do(tiny_common(), data_root=smoke_streets, out=tmp_path)
        said = str(error.value)
        assert "`python reproduce.py --row dynamic-a --profile smoke --data streets --set " in said
        for name, value in TINY.items():
            assert f"{name}={value}" in said
        assert "common.source_key=KEY" in said
        assert error.value.exit_code == 3
    assert not list(tmp_path.iterdir())


def test_a_common_network_ends_in_a_record_of_its_own(finished, source, smoke_streets):
    record = read_record(finished.folder / RECORD)
    settings = record.config["common"]
    assert settings["source_key"] == source.record.key
    counts = json.loads((finished.folder / OPEN_PATHS).read_text())
    assert counts["images"] == record.data.train_images == 4
    assert counts["train_fingerprint"] == record.data.train_fingerprint
    model = config_of(record)
    assert model.gate == "none"
    often = {name for name, n in counts["opened"].items() if (n + counts["passed_on"][name]) / 4 > 0.1}
    space = RoutingSpace(3, model.channels)
    assert set(model.paths) == set(map(path_name, space.prune(space.parse_paths(often))))
    assert read_routes(finished.folder / "routes.json").paths == model.paths
    with torch.device("meta"):
        assert record.training.parameters == sum(p.numel() for p in Segmenter(model).parameters())
    # The paths are how the row is meant; only what was set by hand is another setting.
    assert set(changed_settings(record)) == {name for name in TINY if name.startswith(("train", "model"))}
    out = finished.folder.parents[1]
    assert plan(tiny_common(), data_root=smoke_streets, out=out).finished
    assert run(tiny_common(), data_root=smoke_streets, out=out, device="cpu").reused


def test_the_training_split_alone_decides(finished, source, smoke_streets, monkeypatch):
    """The images counted are those of the training split, as evaluation shows them."""
    names: list[str] = []

    def noting(model, images, config, device, each):
        names.extend(image.name for image in images)
        raise StopHere

    monkeypatch.setattr(common_module, "count_open", noting)
    with pytest.raises(StopHere):
        run(tiny_common(share="0.2"), data_root=smoke_streets, out=source.folder.parents[1], device="cpu")
    validation = {image.name for image in source.record.images}
    assert len(names) == 4
    assert not validation & set(names)


@pytest.mark.parametrize("stop", [("paths", 2), ("train", 4), ("evaluate", 1)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(stop, finished, source, smoke_streets, monkeypatch, tmp_path):
    """What was counted to the end is not counted again."""
    (tmp_path / "dynamic-a").symlink_to(source.folder.parent)

    def interrupt(progress: RunProgress) -> None:
        if (progress.phase, progress.done) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_common(), data_root=smoke_streets, out=tmp_path, device="cpu", report=interrupt)
    if stop[0] != "paths":
        monkeypatch.setattr(common_module, "count_open", lambda *_: pytest.fail("counted twice"))
    resumed = run(tiny_common(), data_root=smoke_streets, out=tmp_path, device="cpu")
    assert_same_run(resumed.folder, finished.folder)


def test_fine_tuning_starts_from_the_sources_weights(finished, source, smoke_streets):
    tuned = run(tiny_common(fine_tune="true"), data_root=smoke_streets, out=source.folder.parents[1], device="cpu")
    assert tuned.folder != finished.folder
    assert config_of(tuned.record) == config_of(finished.record)
    started = Segmenter(config_of(tuned.record))
    copy_weights(started, source)
    anew, ended = (load_snapshot(one.folder / CHECKPOINT).tensors for one in (finished, tuned))
    name = "model/stem.0.conv.weight"
    begun = started.state_dict()["stem.0.conv.weight"]
    # Eight steps of a small lr move the weights by far less than another start would.
    assert (ended[name] - begun).norm() < 0.2 * (anew[name] - begun).norm()
    assert not torch.equal(ended[name], begun)


def test_another_run_is_chosen_by_its_key(finished, source, smoke_streets):
    out = source.folder.parents[1]
    key = source.folder.name.rpartition("-")[2]
    other = with_settings(tiny_common(source_key=key), {"train.lr": "0.001"})
    with pytest.raises(BlockedError, match="has none with the same settings"):
        plan(with_settings(tiny_common(), {"train.lr": "0.001"}), data_root=smoke_streets, out=out)
    assert not plan(other, data_root=smoke_streets, out=out).finished
    assert plan(tiny_common(source_key=key), data_root=smoke_streets, out=out).key == finished.record.key
    with pytest.raises(BlockedError, match="no finished run of dynamic-a with such a key"):
        plan(tiny_common(source_key="0123abcd"), data_root=smoke_streets, out=out)


def test_a_source_without_its_checkpoint(finished, source, smoke_streets, tmp_path):
    copied = tmp_path / "dynamic-a" / source.folder.name
    copied.mkdir(parents=True)
    (copied / RECORD).write_bytes((source.folder / RECORD).read_bytes())
    with pytest.raises(BlockedError, match=CHECKPOINT):
        run(tiny_common(), data_root=smoke_streets, out=tmp_path, device="cpu")
