"""The rows against the published table, the profiles' rules, and settings from the command line."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import get_args

import pytest

from dynroute_core.cost import cost_table
from dynroute_core.data.datasets import DATASETS
from dynroute_core.evaluate import TTA_SCALES
from dynroute_core.experiments import (
    ROWS,
    CommonNetwork,
    DataConfig,
    Experiment,
    Profile,
    experiment,
    fitting_lr,
    rate_warning,
    with_settings,
)
from dynroute_core.losses import Budget
from dynroute_core.profiles import SHORT, SMOKE, budget_macs, demo
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import ModelConfig
from dynroute_core.static_routes import STATIC, static_model
from dynroute_core.system.errors import UsageError

# row: layers, gate, λ, μ, iterations, lr, drop path, gate lr ×, ImageNet weights
TABLE = {
    "dynamic-a": (16, "small", 0.8, 0.1, 190_000, 0.05, 0.0, 1.0, False),
    "dynamic-b": (16, "small", 0.5, 0.1, 190_000, 0.05, 0.0, 1.0, False),
    "dynamic-c": (16, "small", 0.5, 0.2, 190_000, 0.05, 0.0, 1.0, False),
    "dynamic-raw": (16, "full", None, None, 190_000, 0.05, 0.0, 1.0, False),
    "dynamic-raw-long": (16, "full", None, None, 560_000, 0.05, 0.3, 1.0, False),
    "dynamic-raw-imagenet": (16, "full", None, None, 190_000, 0.02, 0.0, 2.5, True),
    "dynamic-raw-l33-imagenet": (33, "full", None, None, 190_000, 0.02, 0.0, 2.5, True),
    "network-fix": (16, "none", None, None, 190_000, 0.05, 0.0, 1.0, False),
}
STATIC_ROWS = tuple(f"static-{name}" for name in STATIC)
COMMON_ROWS = {"common-a": "dynamic-a", "common-b": "dynamic-b", "common-c": "dynamic-c"}
# Fixed networks: Network-Fix on some of its paths, by the same recipe.
TABLE |= dict.fromkeys((*STATIC_ROWS, *COMMON_ROWS), TABLE["network-fix"])
DATA = tuple(DATASETS)
BUDGET_ROWS = ("dynamic-a", "dynamic-b", "dynamic-c")


def facts(e: Experiment):
    budget = e.train.budget
    return (
        e.model.layers,
        e.model.gate,
        budget and budget.weight,
        budget and budget.target,
        e.train.iterations,
        e.train.lr,
        e.train.drop_path,
        e.train.gate_lr_factor,
        e.train.needs_weights,
    )


def test_the_rows_are_those_of_the_table():
    assert list(ROWS) == list(TABLE)
    assert all(ROWS[row].row == row for row in ROWS)
    assert len({made.title for made in ROWS.values()}) == len(ROWS)


@pytest.mark.parametrize("row", TABLE)
def test_full_is_the_published_recipe_to_the_letter(row):
    made = experiment(row, profile="full", data="cityscapes")
    assert facts(made) == facts(ROWS[row]) == TABLE[row]
    layers, gate, weight, target, iterations, lr, drop_path, gate_factor, imagenet = TABLE[row]
    own_paths = ROWS[row].model.paths
    assert made.model == ModelConfig(
        layers=layers, gate=gate, channels=64, classes=19, stem_channels=64, paths=own_paths
    )
    assert bool(own_paths) == (row in STATIC_ROWS)
    assert made.model.operations == ("sep_conv_3x3", "skip_connect")
    assert made.model.stem == "separable"
    assert made.train == TrainConfig(
        iterations=iterations,
        batch=8,
        lr=lr,
        gate_lr_factor=gate_factor,
        momentum=0.9,
        weight_decay=1e-4,
        poly_power=0.9,
        warmup_iterations=1000,
        warmup_factor=1e-3,
        clip_norm=5.0,
        drop_path=drop_path,
        budget=None if weight is None else Budget(weight=weight, target=target, start=0.4, ramp=0.02),
        budget_macs=None if weight is None else 26300e6,
        scales=(512, 768, 1024, 1280, 1536, 2048),
        max_size=4096,
        crop_height=768,
        crop_width=768,
        precise_bn_batches=200,
        needs_weights=imagenet,
    )
    assert (made.evaluate.nominal_height, made.evaluate.nominal_width) == (1024, 2048)
    assert (made.data.name, made.data.height, made.data.width) == ("cityscapes", 1024, 2048)
    assert made.data.train_images == made.data.val_images == 0  # all of them


def test_dynamic_a_b_and_c_differ_in_the_budget_alone():
    a, b, c = (ROWS[row] for row in BUDGET_ROWS)
    for other in (b, c):
        same = replace(other, row=a.row, title=a.title, train=replace(other.train, budget=a.train.budget))
        assert same == a


@pytest.mark.parametrize("data", ["streets", "camvid"])
@pytest.mark.parametrize("row", TABLE)
def test_full_elsewhere_keeps_the_ratio_to_the_images_height(row, data):
    made = experiment(row, profile="full", data=data)
    assert facts(made) == TABLE[row]
    height = made.data.height
    assert made.train.scales == tuple(round(share * height) for share in (0.5, 0.75, 1, 1.25, 1.5, 2))
    assert made.train.max_size == 4 * height
    assert made.train.crop_height == made.train.crop_width == {"streets": 768, "camvid": 256}[data]
    assert made.evaluate.nominal_height % 32 == made.evaluate.nominal_width % 32 == 0
    assert 0 <= made.evaluate.nominal_height - height < 32
    assert made.model.classes == len(DATASETS[data].classes)
    if made.train.budget:
        own = cost_table(made.model, height=made.train.crop_height, width=made.train.crop_width, accounting="paper")
        wanted = 26300e6 if data == "streets" else 26300 / 26892 * own.all_open_expected
        assert made.train.budget_macs == pytest.approx(wanted, rel=1e-12)


def test_the_published_constant_is_the_share_of_l16_at_768():
    """26892 is rounded to five digits, so 26300/26892 of the exact figure is 26300 to 2e-5."""
    assert budget_macs(ModelConfig(), 768, 768) == pytest.approx(26300e6, rel=2e-5)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("profile", ["demo", "smoke"])
@pytest.mark.parametrize("row", TABLE)
def test_the_published_recipe_at_the_small_profiles(row, profile, data):
    made, published = experiment(row, profile=profile, data=data, seed=3, recipe="published"), ROWS[row]
    by = SMOKE if profile == "smoke" else demo(DATASETS[data])
    train = made.train
    assert (made.row, made.profile, made.seed, made.data.name) == (row, profile, 3, data)
    assert train.recipe == "published"
    assert train.iterations == round(by.iterations * (560 / 190 if row == "dynamic-raw-long" else 1))
    assert train.lr == pytest.approx(published.train.lr * by.batch / 8 * by.lr_factor, rel=1e-12)
    assert train.warmup_iterations == max(round(by.warmup_share * train.iterations), 1)
    assert train.batch == by.batch
    height = round(by.image_share * made.data.height)
    assert train.crop_height == train.crop_width == max(round(by.crop_share * height / 32), 1) * 32
    assert train.scales == tuple(round(share * height) for share in by.scales)
    assert made.evaluate.shortest == (0 if by.image_share == 1 else height)
    assert train.precise_bn_batches == by.precise_bn_batches
    assert not train.needs_weights
    assert made.model == replace(
        published.model, channels=by.channels, stem_channels=by.stem_channels, classes=len(DATASETS[data].classes)
    )
    if train.budget:
        # λ · lr · N is the published one at demo, so that the gates go as far in N iterations as in 190 000.
        whole = published.train.lr * published.train.iterations / (train.lr * train.iterations)
        weight = published.train.budget.weight * (whole if profile == "demo" else 1)
        assert train.budget.weight == pytest.approx(weight, rel=1e-12)
        assert train.budget.descent == (0.3 if profile == "demo" else 0)
        assert replace(train.budget, weight=published.train.budget.weight, descent=0) == published.train.budget
        own = cost_table(made.model, height=train.crop_height, width=train.crop_width, accounting="paper")
        assert train.budget_macs == pytest.approx(26300 / 26892 * own.all_open_expected, rel=1e-12)
    else:
        assert train.budget is None
        assert train.budget_macs is None
    # What no profile touches:
    untouched = ("gate_lr_factor", "momentum", "weight_decay", "poly_power", "warmup_factor", "clip_norm", "drop_path")
    ours = ("optimizer", "schedule", "average", "class_weights")
    for name in (*untouched, *ours, "amp", "channels_last", "deterministic"):
        assert getattr(train, name) == getattr(published.train, name), name


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("row", TABLE)
def test_the_short_recipe_at_demo(row, data):
    made, published, by = experiment(row, data=data), ROWS[row], demo(DATASETS[data])
    control = experiment(row, data=data, recipe="published")
    assert (made.model, made.evaluate, made.data) == (control.model, control.evaluate, control.data)
    train, height, width = made.train, *(round(by.image_share * side) for side in (made.data.height, made.data.width))
    assert train.recipe == "short" and train.schedule == "cosine" and train.class_weights
    assert (train.average, train.batch) == (SHORT.average, by.batch)
    # Whole images, padded to what the network takes.
    assert (train.crop_height, train.crop_width) == (-(-height // 32) * 32, -(-width // 32) * 32)
    assert train.scales == tuple(round(share * height) for share in SHORT.scales)
    assert (train.optimizer, train.lr, train.weight_decay) == ("adamw", SHORT.lr, SHORT.weight_decay)
    assert train.gates_by_sgd and train.gate_lr_factor == SHORT.gate_lr_factor
    assert train.iterations == control.train.iterations
    if row not in BUDGET_ROWS:
        assert train.budget is train.budget_macs is None
        return
    budget = published.train.budget
    assert train.budget == Budget(
        weight=SHORT.budget_factor * budget.weight,
        target=budget.target,
        start=0,
        ramp=0,
        descent=SHORT.descent,
        ascent=SHORT.ascent,
    )
    own = cost_table(made.model, height=train.crop_height, width=train.crop_width, accounting="paper")
    assert train.budget_macs == pytest.approx(26300 / 26892 * own.all_open_expected, rel=1e-12)


def test_a_recipe_is_chosen_by_its_name():
    """It sets everything that belongs to it, and what is set beside it stays set."""
    control = with_settings(experiment("dynamic-c"), {"train.recipe": "published", "train.lr": "0.01"})
    own = experiment("dynamic-c", recipe="published")
    assert control == replace(own, train=replace(own.train, lr=0.01))
    assert with_settings(control, {"train.recipe": "short"}) == experiment("dynamic-c")
    assert experiment("dynamic-c", profile="smoke").train.recipe == "published"
    with pytest.raises(UsageError, match="full is the published recipe to the letter"):
        experiment("dynamic-c", profile="full", recipe="short")
    with pytest.raises(UsageError, match=r"unknown recipe 'shot'\. Did you mean 'short'"):
        with_settings(experiment("dynamic-c"), {"train.recipe": "shot"})


def test_rows_of_a_profile_share_everything_but_their_own_facts():
    """No row is tuned alone."""
    for profile, data in (("demo", "streets"), ("demo", "camvid"), ("smoke", "streets")):
        made = [experiment(row, profile=profile, data=data, recipe="published") for row in TABLE]
        own = {"iterations", "lr", "warmup_iterations", "drop_path", "gate_lr_factor", "budget", "budget_macs"}
        for field in fields(TrainConfig):
            if field.name not in own:
                assert len({getattr(e.train, field.name) for e in made}) == 1, field.name
        assert len({(e.data, e.evaluate, e.model.channels) for e in made}) == 1


def test_sizes_and_defaults():
    assert experiment("dynamic-c") == experiment("dynamic-c", profile="demo", data="streets", seed=0)
    sizes = {name: (source.amount.height, source.amount.width) for name, source in DATASETS.items()}
    assert sizes == {"streets": (256, 512), "camvid": (360, 480), "cityscapes": (1024, 2048)}
    smoke = experiment("dynamic-c", profile="smoke")
    assert (smoke.data.height, smoke.data.width, smoke.data.train_images, smoke.data.val_images) == (64, 128, 4, 3)
    assert experiment("dynamic-raw-long").train.iterations == round(demo(DATASETS["streets"]).iterations * 560 / 190)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("profile", get_args(Profile))
def test_no_row_is_warned_of_its_own_learning_rate(row, profile):
    chosen = experiment(row, profile=profile)
    assert fitting_lr(chosen) == chosen.train.lr and rate_warning(chosen) == ""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"train.batch": "1"}, "dynamic-raw: 8 times .* train.lr=0.05 with train.batch=1; .* is 0.00625"),
        ({"train.batch": "4"}, "2 times .* is 0.025"),
        ({"train.lr": "0.4"}, "8 times .* train.lr=0.4 with train.batch=8; .* is 0.05"),
        ({"train.batch": "1", "train.lr": "0.00625"}, ""),
        ({"train.batch": "64", "train.lr": "0.4"}, ""),
        ({"train.batch": "8", "train.accumulate": "8"}, ""),  # the batch's rate, in however many parts
    ],
)
def test_a_learning_rate_far_above_its_batchs_is_warned_of(settings, says):
    warning = rate_warning(with_settings(experiment("dynamic-raw", profile="full", data="cityscapes"), settings))
    assert re.search(says, warning) if says else warning == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"row": "dynamic-d"}, r"unknown row 'dynamic-d'\. Did you mean 'dynamic-"),
        ({"row": ""}, r"unknown row ''\. Known: dynamic-a, "),
        ({"row": "dynamic-a", "profile": "dmo"}, r"unknown profile 'dmo'\. Did you mean 'demo'"),
        ({"row": "dynamic-a", "data": "cityscape"}, r"unknown data set 'cityscape'\. Did you mean 'cityscapes'"),
        ({"row": "dynamic-a", "seed": -1}, "seed -1: give a whole number of at least 0"),
    ],
)
def test_unknown_names(settings, message):
    with pytest.raises(UsageError, match=message) as error:
        experiment(**settings)
    assert error.value.exit_code == 2
    assert get_args(Profile) == ("smoke", "demo", "full")


# --- settings --------------------------------------------------------------------------------------------------------


def test_settings_are_typed():
    made = with_settings(
        experiment("dynamic-c"),
        {
            "train.lr": "0.01",
            "train.iterations": "7",
            "train.amp": "true",
            "train.scales": "[64, 96]",
            "train.budget.target": "0.3",
            "model.gate": "full",
            "model.operations": '["conv_3x3_basic"]',
            "data.val_images": "5",
            "seed": "4",
        },
    )
    assert (made.train.lr, made.train.iterations, made.train.amp, made.train.scales) == (0.01, 7, True, (64, 96))
    assert (made.train.budget.target, made.model.gate, made.model.operations) == (0.3, "full", ("conv_3x3_basic",))
    assert (made.data.val_images, made.seed) == (5, 4)
    assert isinstance(made, Experiment)
    assert hash(made.model)  # lists became tuples


def test_no_settings_change_nothing():
    for profile in get_args(Profile):
        for row in TABLE:
            made = experiment(row, profile=profile, data="cityscapes")
            assert with_settings(made, {}) == made


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.lr", "fast", "Expected `float`, got `str`"),
        ("train.iterations", "1.5", "Expected `int`"),
        ("train.iterations", "0", "at least 1"),
        ("train.amp", "yes", "Expected `bool`"),
        ("train.lr", "NaN", "Expected `float`"),
        ("train.lr", "-1", "give a number above 0"),
        ("train.momentum", "-1", "give a number of at least 0"),
        ("train.drop_path", "1", "below 1"),
        ("train.budget.weight", "-1", "budget.weight"),
        ("train.scales", "64", "Expected `array`"),
        ("model.gate", "huge", "Invalid enum value 'huge'"),
        ("model.channels", "5", "even number"),
        ("model.operations", "[]", "operations=empty"),
        ("data.name", "kitti", "unknown data set 'kitti'"),
        ("data.train_images", "-1", "at least 0"),
        ("data.height", "0", "at least 1"),
        ("data.workers", "-2", "at least 0"),
        ("evaluate.nominal_height", "0", "at least 1"),
        ("seed", "-1", "at least 0"),
    ],
)
def test_values_that_no_run_can_have(key, value, message):
    with pytest.raises(UsageError, match=message) as error:
        with_settings(experiment("dynamic-c"), {key: value})
    assert f"{key}={value}" in str(error.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("train.lrr", "Did you mean 'train.lr'"),
        ("model.chanels", "Did you mean 'model.channels'"),
        ("iterations", "Did you mean 'train.iterations'"),
        ("train", "unknown setting 'train'"),
        ("row", "unknown setting 'row'"),
        ("profile", "unknown setting 'profile'"),
        ("train.budget.wait", "Did you mean 'train.budget.weight'"),
        ("", "Known: common, data.cache, "),
        ("common.shar", "Known: common, "),
    ],
)
def test_unknown_settings_suggest_the_nearest(key, message):
    with pytest.raises(UsageError, match=message):
        with_settings(experiment("dynamic-c"), {key: "1"})


@pytest.mark.parametrize(("profile", "data"), [("demo", "streets"), ("full", "camvid"), ("full", "cityscapes")])
def test_the_budgets_denominator_follows_model_and_crop(profile, data):
    chosen = experiment("dynamic-c", profile=profile, data=data)
    for settings in (
        {"model.channels": "12"},
        {"model.layers": "5"},
        {"train.crop_height": "96"},
        {"train.crop_width": "160", "model.operations": '["conv_3x3_basic"]'},
    ):
        made = with_settings(chosen, settings)
        own = cost_table(made.model, height=made.train.crop_height, width=made.train.crop_width, accounting="paper")
        assert made.train.budget_macs == pytest.approx(26300 / 26892 * own.all_open_expected, rel=1e-12)
        assert made.train.budget_macs != chosen.train.budget_macs
    for settings in ({"train.lr": "0.01"}, {"train.budget.weight": "0.1"}, {"model.gate": "full"}):
        assert (
            with_settings(chosen, settings).train.budget_macs == chosen.train.budget_macs
        )  # what it rests on is as before
    fixed = with_settings(chosen, {"model.channels": "16", "train.budget_macs": "1e9"})
    assert fixed.train.budget_macs == 1e9


def test_a_row_without_a_budget_can_be_given_one():
    made = with_settings(experiment("dynamic-raw"), {"train.budget": '{"weight": 0.5, "target": 0.2}'})
    assert made.train.budget == Budget(weight=0.5, target=0.2)
    assert made.train.budget_macs == budget_macs(made.model, made.train.crop_height, made.train.crop_width)


def test_impossible_data_settings_are_refused():
    for name, value in (("height", 0), ("width", -1), ("train_images", -1), ("val_images", -1), ("workers", -1)):
        with pytest.raises(ValueError, match=f"data.{name}={value}"):
            DataConfig(**{name: value})


# --- fixed networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATIC)
def test_a_static_row_is_network_fix_on_its_route_alone(name):
    row = ROWS[f"static-{name}"]
    assert row.model == static_model(name)
    fixed = ROWS["network-fix"]
    assert replace(row, row=fixed.row, title=fixed.title, model=fixed.model) == fixed


def test_a_static_row_stretches_with_the_number_of_layers():
    chosen = experiment("static-unet")
    for settings in ({"model.layers": "20"}, {"model.layers": "20", "model.channels": "4"}):
        made = with_settings(chosen, settings)
        assert made.model.paths == static_model("unet", 20).paths
    with pytest.raises(UsageError, match="U-Net does not fit 5 layers"):
        with_settings(chosen, {"model.layers": "5"})
    own = with_settings(chosen, {"model.layers": "3", "model.paths": '["init>keep","0.0>keep","1.0>keep","2.0>keep"]'})
    assert own.model.paths == ("init>keep", "0.0>keep", "1.0>keep", "2.0>keep")
    with pytest.raises(UsageError, match="a fixed network has no gates"):
        with_settings(chosen, {"model.gate": "full"})


@pytest.mark.parametrize(("row", "source"), COMMON_ROWS.items())
def test_a_common_row_names_its_source_and_has_no_paths_yet(row, source):
    common, fixed = ROWS[row], ROWS["network-fix"]
    assert common.common == CommonNetwork(source=source, share=0.5, fine_tune=False, source_key="")
    assert replace(common, row=fixed.row, title=fixed.title, common=None) == fixed


def test_the_settings_of_a_common_row():
    made = with_settings(experiment("common-a"), {"common.share": "0.9", "common.fine_tune": "true"})
    assert made.common == CommonNetwork(source="dynamic-a", share=0.9, fine_tune=True)
    for key, value, message in (
        ("common.share", "1", "share from 0 to below 1"),
        ("common.share", "-0.1", "share from 0 to below 1"),
        ("model.gate", "small", "it has no gates, give none"),
    ):
        with pytest.raises(UsageError, match=message):
            with_settings(experiment("common-a"), {key: value})
    with pytest.raises(UsageError, match=r"unknown setting 'common\.share'"):
        with_settings(experiment("network-fix"), {"common.share": "0.9"})
    other = with_settings(experiment("network-fix"), {"common": '{"source": "dynamic-raw"}'})
    assert other.common == CommonNetwork(source="dynamic-raw")


@pytest.mark.parametrize("profile", ["demo", "full"])
@pytest.mark.parametrize("data", ["streets", "camvid", "cityscapes"])
def test_augmentation_keeps_the_published_ratios_at_every_profile(profile, data):
    """Scales are factors of what single-scale evaluation shows, so the demo's half-size images keep theirs."""
    settings = {"evaluate.scales": json.dumps(TTA_SCALES), "evaluate.flip": "true"}
    made = with_settings(experiment("dynamic-raw", profile=profile, data=data), settings)
    config, height = made.evaluate, made.evaluate.shortest or made.data.height
    sizes = sorted({round(view.scale * height) for view in config.views})
    assert [size / height for size in sizes] == pytest.approx([0.5, 0.75, 1, 1.25, 1.5, 2], abs=0.5 / height)
    assert len(config.views) == 12
    if (profile, data) == ("full", "cityscapes"):
        assert sizes == list(made.train.scales)
