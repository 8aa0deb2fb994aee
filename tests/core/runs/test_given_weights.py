"""Runs whose weights come from a file, and evaluation on a forced route: the numbers are those of the run itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from dynroute_core.checkpoint import Weights, load_snapshot
from dynroute_core.data.datasets import open_dataset
from dynroute_core.data.loader import eval_samples
from dynroute_core.evaluate import ForcedPaths, OnRoute, as_input, evaluate
from dynroute_core.experiments import Experiment, experiment, with_settings
from dynroute_core.model import Segmenter
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.pipeline import plan, run
from dynroute_core.runs.record import CHECKPOINT, read_curve, read_record
from dynroute_core.space import RoutingSpace, path_name
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.weights.released_names import original_name
from dynroute_suite.report.comparable import why_not_comparable

HERE = {"device": "cpu"}


def trained(run: FinishedRun, experiment: Experiment) -> Segmenter:
    model = Segmenter(experiment.model).eval()
    tensors = load_snapshot(run.folder / CHECKPOINT).tensors
    model.load_state_dict({n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")})
    return model


@pytest.fixture(scope="module")
def released(finished: FinishedRun, tiny: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run's network in the released checkpoints' format."""
    path = tmp_path_factory.mktemp("download") / "model_final.pth"
    state = {original_name(name): tensor for name, tensor in trained(finished, tiny).state_dict().items()}
    torch.save({"model": state, "iteration": 7}, path)
    return path


def with_weights(chosen: Experiment, path: Path, use: str = "evaluate") -> Experiment:
    return replace(chosen, weights=Weights(file=str(path), use=use))  # type: ignore[arg-type]


def test_a_released_checkpoint_gives_the_runs_own_numbers(tiny, smoke_streets, finished, released, tmp_path) -> None:
    done = run(with_weights(tiny, released), data_root=smoke_streets, out=tmp_path, **HERE)
    record, own = done.record, finished.record
    assert (record.metrics, record.costs, record.images) == (own.metrics, own.costs, own.images)
    training = record.training
    assert (training.iterations, training.final_loss, training.final_expected_macs) == (0, None, None)
    assert read_curve(done.folder / "curve.csv") == []
    assert record.marks == ("weights of model_final.pth",)
    assert str(released.parent) not in (done.folder / "record.json").read_text(), "the record names a local folder"
    converted = load_snapshot(done.folder / CHECKPOINT).tensors
    theirs = load_snapshot(finished.folder / CHECKPOINT).tensors
    assert all(torch.equal(converted[name], theirs[name]) for name in theirs if name.startswith("model/"))


def test_the_key_follows_the_files_bytes_not_its_place(tiny, smoke_streets, released, tmp_path) -> None:
    copy, other = tmp_path / "copy.pth", tmp_path / "other.pth"
    copy.write_bytes(released.read_bytes())
    state = torch.load(released, weights_only=True)
    torch.save(state | {"iteration": 8}, other)
    keys = [
        plan(with_weights(tiny, path), data_root=smoke_streets, out=tmp_path).key for path in (released, copy, other)
    ]
    assert keys[0] == keys[1] != keys[2]
    assert plan(tiny, data_root=smoke_streets, out=tmp_path).key not in keys


def test_training_starts_from_the_weights(tiny, smoke_streets, finished, released, tmp_path) -> None:
    chosen = with_settings(with_weights(tiny, released, "start"), {"train.iterations": "1", "train.lr": "1e-12"})
    chosen = replace(chosen, train=replace(chosen.train, budget=None))
    done = run(chosen, data_root=smoke_streets, out=tmp_path, **HERE)
    assert done.record.training.iterations == 1
    assert done.record.marks == ("started from model_final.pth",)
    begun, given = trained(done, tiny).state_dict(), trained(finished, tiny).state_dict()
    weights = [name for name in begun if name.endswith("conv.weight")]
    assert weights and all(torch.allclose(begun[name], given[name], rtol=0, atol=1e-9) for name in weights)


def test_rows_that_need_weights_are_blocked_without_and_planned_with(smoke_streets, released, tmp_path) -> None:
    needy = replace(experiment("dynamic-raw-imagenet", profile="smoke"))
    needy = replace(needy, train=replace(needy.train, needs_weights=True))
    with pytest.raises(BlockedError, match="--init FILE"):
        plan(needy, data_root=smoke_streets, out=tmp_path)
    assert not plan(with_weights(needy, released, "start"), data_root=smoke_streets, out=tmp_path).finished


def test_weights_that_are_not_there(tiny, smoke_streets, tmp_path) -> None:
    with pytest.raises(BlockedError, match="cannot read"):
        plan(with_weights(tiny, tmp_path / "gone.pth"), data_root=smoke_streets, out=tmp_path)


def forced(chosen: Experiment, paths: tuple[str, ...], factors: str = "one") -> Experiment:
    route = ForcedPaths(name="by hand", paths=paths, factors=factors)  # type: ignore[arg-type]
    return replace(chosen, evaluate=replace(chosen.evaluate, route=route))


@pytest.mark.parametrize("factors", ["one", "gate"])
def test_a_forced_route_is_the_models_own(tiny, smoke_streets, finished, tmp_path, factors) -> None:
    space = RoutingSpace.of(tiny.model)
    route = frozenset(key for key in space.all_paths if factors == "gate" or key[1] == "keep")
    chosen = forced(with_weights(tiny, finished.folder / CHECKPOINT), tuple(map(path_name, route)), factors)
    record = run(chosen, data_root=smoke_streets, out=tmp_path, **HERE).record
    model = trained(finished, tiny)
    samples = eval_samples(open_dataset("streets", smoke_streets, "val"), 0)
    by_hand = evaluate(
        OnRoute(model, route, factors),
        samples,
        tiny.evaluate,
        classes=tiny.model.classes,
        device=torch.device("cpu"),
    )
    assert [image.paper_macs for image in record.images] == [image.route.macs.paper for image in by_hand.images]
    hits = by_hand.confusion.diagonal().sum() / by_hand.confusion.sum()
    assert record.metrics.pixel_accuracy_percent == 100 * hits
    (mark,) = [mark for mark in record.marks if "forced route" in mark]
    assert mark in record.label
    assert msgspec.convert(record.config, Experiment).evaluate == chosen.evaluate


def test_a_forced_route_never_stands_beside_a_published_number(finished: FinishedRun) -> None:
    record = read_record(finished.folder / "record.json")
    paper = replace(
        record,
        profile="full",
        data=replace(record.data, name="cityscapes", val_images=500),
        costs=replace(record.costs, nominal_height=1024, nominal_width=2048),
        config=record.config | {"evaluate": {"route": {"name": "all-open", "paths": ["init>keep"], "factors": "one"}}},
    )
    assert "forced route all-open: 1 paths" in why_not_comparable(paper)


def test_a_route_of_another_network(tiny, smoke_streets, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"no path '15\.0>keep'"):
        plan(forced(tiny, ("15.0>keep",)), data_root=smoke_streets, out=tmp_path)


def test_the_input_is_the_evaluations(tiny, smoke_streets) -> None:
    """The comparison above shows the model what evaluation shows it."""
    sample = next(iter(eval_samples(open_dataset("streets", smoke_streets, "val"), 0)))
    assert as_input(sample, tiny.evaluate, torch.device("cpu")).shape[-2:] == sample.label.shape
