"""The rows of the published table, each as one function, and the profiles at which they run.

Takes row, profile, data set and seed; gives an `Experiment`, the complete setting of a run. Nothing is read from the
machine.

Profiles and their rules (every row alike; no row is tuned alone):

- `full`: the published recipe to the letter, on Cityscapes. Elsewhere the image scales and the crop keep their ratio to
  the data set's image height.
- `demo`: minutes on two CPU cores. Narrower networks on smaller images (in training and evaluation; labels keep their
  size), fewer and smaller crops; see `DEMO`.
- `smoke`: seconds, for tests; its numbers mean nothing.

At `demo` and `smoke`, with N iterations instead of the published 190 000: the long row keeps its ratio (×560/190), the
lr is the published one × batch/8 × the profile's `lr_factor`, the warm-up lasts the profile's share of N, the budget's
start and ramp are shares of N already, and the budget's denominator is 26300/26892 (the published constant over L16's
all-open expected MMACs at 768²) of the model's own all-open expected cost at the crop's size. At `demo` the budget's
weight λ is multiplied by published lr × 190 000 over the run's lr × N, so that the budget moves the gates as far in N
iterations as the published one would in its own, and its target falls from 1 to μ in half of what is left of the run
(0.3 N): at once it would close the paths within some 50 iterations, and the network would lose what it had learned. (At
`smoke`, with 6 iterations, the factor would be thousands; there the budget stays as published.)
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import msgspec

from dynroute_core.checkpoint import Weights
from dynroute_core.cost import cost_table
from dynroute_core.evaluate import LARGEST_SIDE, EvaluateConfig
from dynroute_core.losses import Budget
from dynroute_core.profiles import CLASSES, DEMO, PUBLISHED_CROP, PUBLISHED_SCALES, SIZES, SMOKE, DataName, Shrink
from dynroute_core.settings import put, setting_names
from dynroute_core.space import COARSEST_STRIDE, ModelConfig
from dynroute_core.static_routes import STATIC, static_model, static_paths
from dynroute_core.system.errors import UsageError, suggest
from dynroute_core.train import TrainConfig

Profile = Literal["smoke", "demo", "full"]

MOST_IMAGES, MOST_WORKERS = 1 << 20, 256  # what readers and generator can do

PUBLISHED_BUDGET_MACS = 26300e6  # the released code's constant for L16 at 768×768
PUBLISHED_BUDGET_SHARE = 26300 / 26892  # ... over the all-open expected cost it stands for
PUBLISHED_ITERATIONS = 190_000
PUBLISHED_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data, and how much of it.

    train_images, val_images: how many to use, 0 for all. height, width: of the data set's images; streets are generated
    at that size, as many as asked for, from `generator_seed`. workers: loading processes (0 where training itself fills
    the cores: on two, two workers made a step four times as long). cache: keep decoded images in memory.
    """

    name: DataName = "cityscapes"
    height: int = 1024
    width: int = 2048
    train_images: int = 0
    val_images: int = 0
    generator_seed: int = 2020
    workers: int = 4
    cache: bool = False

    def __post_init__(self) -> None:
        for name, least in (("height", 1), ("width", 1), ("train_images", 0), ("val_images", 0), ("workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"data.{name}={getattr(self, name)}: give a whole number of at least {least}")
        if max(self.height, self.width) > LARGEST_SIDE or max(self.train_images, self.val_images) > MOST_IMAGES:
            raise ValueError(f"data: give sides of at most {LARGEST_SIDE} pixels and at most {MOST_IMAGES} images")
        if self.workers > MOST_WORKERS:
            raise ValueError(f"data.workers={self.workers}: give at most {MOST_WORKERS}")


@dataclass(frozen=True, kw_only=True)
class Common:
    """Of a row that trains a common network: the paths open in more than `share` of the training images of a finished
    run of the row `source`, with the same profile, data, seed and settings.

    passed_on: count what a closed cell passes on unchanged as open too; its cell then runs in the fixed network.
    fine_tune: start from that run's weights instead of anew. source_key: the run's key; "" finds it, the first digits
    (the end of its folder's name) choose one with other settings or older sources.
    """

    source: str
    share: float = 0.5
    passed_on: bool = False
    fine_tune: bool = False
    source_key: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"common.share={self.share}: give a share from 0 to below 1")
        if not re.fullmatch("[0-9a-f]{0,64}", self.source_key):
            raise ValueError(f"common.source_key={self.source_key!r}: give the first digits of a key, 0-9 and a-f")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The complete setting of one run of one row. common: model.paths come from another row's run, and are empty until
    it is looked at."""

    row: str  # its name on the command line
    title: str  # its name in sentences
    profile: Profile = "full"  # how large the run is
    seed: int = 0  # of weights, of the data's order and of how it is varied
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    weights: Weights | None = None
    common: Common | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed {self.seed}: give a whole number of at least 0 and below 2^63")
        if self.common is not None and self.model.gate != "none":
            raise ValueError(f"model.gate={self.model.gate} in a common network: it has no gates, give none")

    def folder(self, key: str) -> Path:
        """Where the run of this experiment with this key lies, below the folder of all runs."""
        route, weights = self.evaluate.route, self.weights
        forced = "" if route is None else "route-" + "-".join(re.findall(r"[a-z0-9]+", route.name.lower()))[:60] + "-"
        given = "weights-" if weights is not None and weights.use == "evaluate" else ""
        return Path(self.row) / f"{self.profile}-{self.data.name}-seed{self.seed}-{forced}{given}{key[:8]}"


def _small_gate_row(row: str, title: str, *, weight: float, target: float) -> Experiment:
    return Experiment(
        row=row,
        title=title,
        model=ModelConfig(gate="small"),
        train=TrainConfig(budget=Budget(weight=weight, target=target), budget_macs=PUBLISHED_BUDGET_MACS),
    )


def dynamic_a() -> Experiment:
    return _small_gate_row("dynamic-a", "Dynamic-A", weight=0.8, target=0.1)


def dynamic_b() -> Experiment:
    return _small_gate_row("dynamic-b", "Dynamic-B", weight=0.5, target=0.1)


def dynamic_c() -> Experiment:
    return _small_gate_row("dynamic-c", "Dynamic-C", weight=0.5, target=0.2)


def dynamic_raw() -> Experiment:
    return Experiment(row="dynamic-raw", title="Dynamic-Raw")


def dynamic_raw_long() -> Experiment:
    return Experiment(
        row="dynamic-raw-long",
        title="Dynamic-Raw, long schedule",
        train=TrainConfig(iterations=560_000, drop_path=0.3),
    )


def dynamic_raw_imagenet() -> Experiment:
    return Experiment(
        row="dynamic-raw-imagenet",
        title="Dynamic-Raw, ImageNet pre-training",
        train=TrainConfig(lr=0.02, gate_lr_factor=2.5, needs_weights=True),
    )


def dynamic_raw_l33_imagenet() -> Experiment:
    return Experiment(
        row="dynamic-raw-l33-imagenet",
        title="Dynamic-Raw, Layer33, ImageNet pre-training",
        model=ModelConfig(layers=33),
        train=TrainConfig(lr=0.02, gate_lr_factor=2.5, needs_weights=True),
    )


def network_fix() -> Experiment:
    return Experiment(row="network-fix", title="Network-Fix (no gates)", model=ModelConfig(gate="none"))


def _static_row(name: str) -> Experiment:
    return Experiment(row=f"static-{name}", title=f"{STATIC[name].title} as a static route", model=static_model(name))


def _common_row(letter: str) -> Experiment:
    return Experiment(
        row=f"common-{letter}",
        title=f"Common-{letter.upper()}, what Dynamic-{letter.upper()} mostly opens",
        model=ModelConfig(gate="none"),
        common=Common(source=f"dynamic-{letter}"),
    )


_ROW_FUNCTIONS: tuple[Callable[[], Experiment], ...] = (
    dynamic_a,
    dynamic_b,
    dynamic_c,
    dynamic_raw,
    dynamic_raw_long,
    dynamic_raw_imagenet,
    dynamic_raw_l33_imagenet,
    network_fix,
)
ROWS: Mapping[str, Experiment] = {
    made.row: made
    for made in (
        *(function() for function in _ROW_FUNCTIONS),
        *(_static_row(name) for name in STATIC),
        *(_common_row(letter) for letter in "abc"),
    )
}


def experiment(row: str, *, profile: str = "demo", data: str = "streets", seed: int = 0) -> Experiment:
    """The setting of a row at a profile on a data set. Raises UsageError for unknown names and negative seeds."""
    for kind, given, allowed in (
        ("row", row, tuple(ROWS)),
        ("profile", profile, get_args(Profile)),
        ("data set", data, get_args(DataName)),
    ):
        if given not in allowed:
            raise suggest(kind, given, allowed)
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed}: give a whole number of at least 0 and below 2^63.")
    published = ROWS[row]
    name = typing.cast(DataName, data)
    height, width = SIZES[name] if profile != "smoke" or name != "streets" else (64, 128)
    chosen = replace(published, profile=typing.cast(Profile, profile), seed=seed)
    chosen = replace(
        chosen,
        model=replace(published.model, classes=CLASSES[name]),
        data=DataConfig(name=name, height=height, width=width, cache=name != "cityscapes"),
    )
    if profile == "full":
        return _full(chosen)
    return _shrunk(chosen, SMOKE if profile == "smoke" else DEMO[name])


def _full(chosen: Experiment) -> Experiment:
    """The published recipe; off Cityscapes, scales and crop keep their ratio to the image's height."""
    data, train = chosen.data, chosen.train
    if data.name == "streets":
        data = replace(data, height=1024, width=2048, train_images=2975, val_images=500)
    if data.name == "camvid":
        crop = _multiple(PUBLISHED_CROP * data.height)
        train = replace(
            train,
            scales=tuple(round(scale * data.height) for scale in PUBLISHED_SCALES),
            crop_height=crop,
            crop_width=crop,
            max_size=4 * data.height,
        )
        if train.budget:
            train = replace(train, budget_macs=budget_macs(chosen.model, crop, crop))
    evaluate = replace(chosen.evaluate, nominal_height=_padded(data.height), nominal_width=_padded(data.width))
    return replace(chosen, data=data, train=train, evaluate=evaluate)


def _shrunk(chosen: Experiment, by: Shrink) -> Experiment:
    data, train = replace(chosen.data, workers=0), chosen.train
    height, width = (round(by.image_share * side) for side in (data.height, data.width))
    crop = _multiple(by.crop_share * height)
    model = replace(chosen.model, channels=by.channels, stem_channels=by.stem_channels)
    iterations = round(by.iterations * train.iterations / PUBLISHED_ITERATIONS)
    lr = train.lr * by.batch / PUBLISHED_BATCH * by.lr_factor
    budget = train.budget
    if budget and chosen.profile == "demo":
        weight = budget.weight * (train.lr * train.iterations) / (lr * iterations)
        budget = replace(budget, weight=weight, descent=(1 - budget.start) / 2)
    train = replace(
        train,
        iterations=iterations,
        batch=by.batch,
        lr=lr,
        budget=budget,
        warmup_iterations=max(round(by.warmup_share * iterations), 1),
        scales=tuple(round(scale * height) for scale in by.scales),
        crop_height=crop,
        crop_width=crop,
        max_size=4 * height,
        precise_bn_batches=by.precise_bn_batches,
        log_every=1 if chosen.profile == "smoke" else 10,
        budget_macs=budget_macs(model, crop, crop) if train.budget else None,
        needs_weights=False,
    )
    if data.name == "streets":
        counts = (4, 3) if chosen.profile == "smoke" else (200, 40)
        data = replace(data, train_images=counts[0], val_images=counts[1])
    evaluate = replace(
        chosen.evaluate,
        nominal_height=_padded(height),
        nominal_width=_padded(width),
        shortest=height if by.image_share != 1 else 0,
    )
    return replace(chosen, data=data, model=model, train=train, evaluate=evaluate)


def budget_macs(model: ModelConfig, height: int, width: int) -> float:
    """The budget's denominator away from the published setting: 26300/26892 of the all-open expected cost."""
    return PUBLISHED_BUDGET_SHARE * cost_table(model, height=height, width=width, accounting="paper").all_open_expected


def _multiple(size: float) -> int:
    """The nearest multiple of 32, at least 32."""
    return max(round(size / COARSEST_STRIDE), 1) * COARSEST_STRIDE


def _padded(size: int) -> int:
    return -(-size // COARSEST_STRIDE) * COARSEST_STRIDE


def with_settings(chosen: Experiment, settings: Mapping[str, str]) -> Experiment:
    """The experiment with some fields replaced: `{"train.lr": "0.01", "model.channels": "8"}`, values as typed JSON or
    text.

    Raises UsageError for a field that does not exist (nearest names suggested), a value of the wrong type, and a value
    that no run can have. Where the model or the crop changes, the budget's denominator follows unless it is set too; a
    static row's paths follow the number of layers likewise.
    """
    plain = msgspec.to_builtins(chosen)
    network = chosen.row.removeprefix("static-")
    stretched = network in STATIC and "model.layers" in settings and "model.paths" not in settings
    if stretched:
        plain["model"]["paths"] = []
    said = f"--set {' '.join(f'{k}={v}' for k, v in settings.items())[:300]}"
    put(plain, setting_names(chosen), settings)
    try:
        changed = msgspec.convert(plain, Experiment)
    except (ValueError, OverflowError) as error:  # msgspec's are among them
        raise UsageError(f"{said}: {error}.") from error
    if stretched:
        changed = replace(changed, model=replace(changed.model, paths=static_paths(network, changed.model.layers)))
    if changed.train.budget and "train.budget_macs" not in settings:
        before, after = (
            budget_macs(one.model, one.train.crop_height, one.train.crop_width) for one in (chosen, changed)
        )
        if before != after or changed.train.budget_macs is None:
            changed = replace(changed, train=replace(changed.train, budget_macs=after))
    return changed
