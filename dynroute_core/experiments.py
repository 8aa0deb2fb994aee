"""The rows of the published table, each as one function, and what a run of one is told.

Takes row, profile, data set and seed; gives an `Experiment`, the complete setting of a run (what a profile changes of a
row: `profiles.py`). Nothing is read from the machine.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, get_args

import msgspec

from dynroute_core.checkpoint import Weights
from dynroute_core.data.datasets import find_dataset
from dynroute_core.data.source import Scenes
from dynroute_core.evaluate import EvaluateConfig
from dynroute_core.losses import Budget
from dynroute_core.profiles import SMOKE, Settings, at_full, at_short, at_shrunk, budget_macs, demo
from dynroute_core.recipe import RecipeName, TrainConfig
from dynroute_core.settings import put, setting_names
from dynroute_core.space import LARGEST_SIDE, ModelConfig
from dynroute_core.static_routes import STATIC, static_model, static_paths
from dynroute_core.system.errors import UsageError, suggest

Profile = Literal["smoke", "demo", "full"]

MOST_IMAGES, MOST_WORKERS = 1 << 20, 256  # what readers and generator can do

BUDGET_A = Budget(weight=0.8, target=0.1)  # the paper's λ and μ
BUDGET_B = Budget(weight=0.5, target=0.1)
BUDGET_C = Budget(weight=0.5, target=0.2)

PUBLISHED_BUDGET_MACS = 26300e6  # the released code's constant for L16 at 768×768


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data, and how much of it."""

    name: str = "cityscapes"  # a name of `data.datasets.DATASETS`
    height: int = 1024  # of its images, in pixels; streets are generated at this size
    width: int = 2048  # likewise
    train_images: int = 0  # how many are used, spread over the split, 0 for all; so many streets are generated
    val_images: int = 0  # likewise
    generator_seed: int = 2020  # of generated streets
    # Of generated streets: near ones show few large objects, far ones many small ones, mixed are half of each.
    scenes: Scenes = "ordinary"
    # Processes that prepare batches; 0 where training itself fills the cores: on two, two workers made a step four
    # times as long.
    workers: int = 4
    cache: bool = False  # whether decoded images are kept in memory, where they fit

    def __post_init__(self) -> None:
        allowed = find_dataset(self.name).scenes
        if self.scenes not in allowed:
            raise ValueError(f"data.scenes={self.scenes}: {self.name} has {', '.join(allowed)} alone; give that")
        for name, least in (("height", 1), ("width", 1), ("train_images", 0), ("val_images", 0), ("workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"data.{name}={getattr(self, name)}: give a whole number of at least {least}")
        if max(self.height, self.width) > LARGEST_SIDE or max(self.train_images, self.val_images) > MOST_IMAGES:
            raise ValueError(f"data: give sides of at most {LARGEST_SIDE} pixels and at most {MOST_IMAGES} images")
        if self.workers > MOST_WORKERS:
            raise ValueError(f"data.workers={self.workers}: give at most {MOST_WORKERS}")


RISKY_RATE = 2.0
"""Times the recipe's learning rate, scaled to the batch, from which on it is warned of: a forgotten half already."""


@dataclass(frozen=True, kw_only=True)
class CommonNetwork:
    """Of a row that trains a common network: which paths of which finished run it consists of. The run has the same
    profile, data, seed and settings."""

    source: str  # row of the run
    share: float = 0.5  # a path counts where it is open in more than this share of the run's training images
    passed_on: bool = False  # whether what a closed cell passes on unchanged counts as open; its cell then runs, too
    fine_tune: bool = False  # whether training starts from that run's weights instead of anew
    # The run's key, or its first digits (the end of its folder's name), to choose one with other settings or older
    # sources; "" finds it.
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
    common: CommonNetwork | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed {self.seed}: give a whole number of at least 0 and below 2^63")
        if self.common is not None and self.model.gate != "none":
            raise ValueError(f"model.gate={self.model.gate} in a common network: it has no gates, give none")


def _budget_row(row: str, title: str, budget: Budget) -> Experiment:
    return Experiment(
        row=row,
        title=title,
        model=ModelConfig(gate="small"),
        train=TrainConfig(budget=budget, budget_macs=PUBLISHED_BUDGET_MACS),
    )


def dynamic_a() -> Experiment:
    return _budget_row("dynamic-a", "Dynamic-A", BUDGET_A)


def dynamic_b() -> Experiment:
    return _budget_row("dynamic-b", "Dynamic-B", BUDGET_B)


def dynamic_c() -> Experiment:
    return _budget_row("dynamic-c", "Dynamic-C", BUDGET_C)


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
        common=CommonNetwork(source=f"dynamic-{letter}"),
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


def experiment(
    row: str, *, profile: str = "demo", data: str = "streets", seed: int = 0, recipe: str = ""
) -> Experiment:
    """The setting of a row at a profile on a data set. recipe: "" is the profile's own.

    Raises UsageError for unknown names, negative seeds, and the short recipe at `full`.
    """
    recipe = recipe or ("short" if profile == "demo" else "published")
    for kind, given, allowed in (
        ("row", row, tuple(ROWS)),
        ("profile", profile, get_args(Profile)),
        ("recipe", recipe, get_args(RecipeName)),
    ):
        if given not in allowed:
            raise suggest(kind, given, allowed)
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed}: give a whole number of at least 0 and below 2^63.")
    if profile == "full" and recipe != "published":
        raise UsageError(f"the profile full is the published recipe to the letter. For {recipe}, give demo.")
    published, source = ROWS[row], find_dataset(data)
    amount, settings = source.amount_at(profile), Settings(published.model, published.train, published.evaluate)
    settings = settings._replace(model=replace(published.model, classes=len(source.classes)))
    used, size = DataConfig(name=data, cache=source.fits_memory, **asdict(amount)), (amount.height, amount.width)
    if profile == "full":
        settings = at_full(settings, *size)
    else:
        used, by = replace(used, workers=0), SMOKE if profile == "smoke" else demo(source)
        by_recipe = at_shrunk if recipe == "published" else at_short
        settings = by_recipe(settings, by, *size)
    return replace(published, profile=typing.cast(Profile, profile), seed=seed, data=used, **settings._asdict())


def _by_recipe(chosen: Experiment, recipe: str) -> Experiment:
    """The experiment with all that a recipe sets."""
    own = experiment(chosen.row, profile=chosen.profile, data=chosen.data.name, seed=chosen.seed, recipe=recipe)
    return replace(chosen, train=own.train)


def fitting_lr(chosen: Experiment) -> float:
    """The learning rate of the row's own recipe at this profile, scaled linearly to the batch that is chosen."""
    train = TrainConfig()
    if chosen.row in ROWS:
        recipe = chosen.train.recipe
        train = experiment(chosen.row, profile=chosen.profile, data=chosen.data.name, recipe=recipe).train
    return train.lr * chosen.train.batch / train.batch


def rate_words(chosen: Experiment) -> str:
    """Learning rate and batch, for the message of a training that diverged."""
    lr, batch = chosen.train.lr, chosen.train.batch
    return (
        f"The rate is train.lr={lr:g} with train.batch={batch}; the recipe's for this batch is {fitting_lr(chosen):g}."
    )


def rate_warning(chosen: Experiment) -> str:
    """What to say before a training whose learning rate is far above its batch's; "" where it is not."""
    times = chosen.train.lr / fitting_lr(chosen)
    if times < RISKY_RATE:
        return ""
    return (
        f"{chosen.row}: {times:.3g} times the recipe's learning rate for this batch, which may diverge after hours. "
        f"{rate_words(chosen)}"
    )


def with_settings(chosen: Experiment, settings: Mapping[str, str]) -> Experiment:
    """The experiment with some fields replaced: `{"train.lr": "0.01", "model.channels": "8"}`, values as typed JSON or
    text.

    Raises UsageError for a field that does not exist (nearest names suggested), a value of the wrong type, and a value
    that no run can have. Where the model or the crop changes, the budget's denominator follows unless it is set too; a
    static row's paths follow the number of layers likewise.
    """
    if "train.recipe" in settings:
        chosen = _by_recipe(chosen, settings["train.recipe"])
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
