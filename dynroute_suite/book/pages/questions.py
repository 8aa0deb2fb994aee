"""Generated answers to what users of the released code asked: costs, gate bias, losses, small batches; and the recipe.

Computed from the rows, `cost.py`, `train.py`, `published.py` and committed records; nothing is typed or trained.
"""

from __future__ import annotations

import math

import torch

from dynroute_core.cell import GATE_BIAS
from dynroute_core.cost import cost_table
from dynroute_core.evaluate import TTA_SCALES, EvaluateConfig
from dynroute_core.experiments import PUBLISHED_BUDGET_MACS, ROWS, experiment
from dynroute_core.losses import Budget
from dynroute_core.model import Segmenter
from dynroute_core.optimizer import learning_rate, make_optimizer
from dynroute_core.profiles import PUBLISHED_BATCH
from dynroute_core.published import HEARSAY, PROTOCOL_HEIGHT, PROTOCOL_WIDTH, PUBLISHED
from dynroute_suite.figures.recipe import (
    BIASES,
    SEEDED,
    drop_probability,
    factor,
    gate_figure,
    gradient,
    open_at_start,
    recipe_figure,
)
from dynroute_suite.figures.style import figure_block
from dynroute_suite.report.cost_tables import NETWORKS, parts_of, published_table
from dynroute_suite.report.numbers import NOTHING, giga, gmacs
from dynroute_suite.report.results import Results
from dynroute_suite.report.tables import markdown_table

RAW = ROWS["dynamic-raw"]
CITYSCAPES_TRAIN = 2975  # images of the fine training split
SIZES = ((PROTOCOL_HEIGHT, PROTOCOL_WIDTH), (RAW.train.crop_height, RAW.train.crop_width))


def real_and_expected() -> str:
    """All-open real and expected cost of the published networks at both sizes, and what only the first counts."""
    lines = []
    for name, config in NETWORKS.items():
        for height, width in SIZES:
            table = cost_table(config, height=height, width=width, accounting="paper")
            gates = sum(table.gates.values())
            numbers = (table.all_open, table.all_open_expected, table.stem, table.head, gates)
            lines.append([name, f"{height}×{width}", *map(giga, numbers)])
    header = ["network", "size", "real", "expected", "stem", "head", "gates"]
    return markdown_table(header, lines) + "\n\nGFLOPs, every factor 1. Real = expected + stem + head + gates."


def measured_real_and_expected(results: Results) -> str:
    """The committed runs' mean real and expected cost, each with its marks."""
    lines = []
    for record in (one.record for one in results.committed):
        costs = record.costs
        size = f"{costs.nominal_height}×{costs.nominal_width}"
        lines.append([record.label, size, gmacs(costs.paper.mean_macs), gmacs(costs.expected.mean_macs)])
    note = "GFLOPs over the val images, paper's accounting. Not the published networks."
    return f"{markdown_table(['run', 'size', 'real, mean', 'expected, mean'], lines)}\n\n{note}"


def sizes() -> str:
    """What the change of size from training to evaluation does to costs, and to the budget's target."""
    pixels = SIZES[0][0] * SIZES[0][1] / (SIZES[1][0] * SIZES[1][1])
    open_at = [cost_table(RAW.model, height=h, width=w, accounting="paper") for h, w in SIZES]
    text = (
        f"{SIZES[0][0]}×{SIZES[0][1]} has **{pixels:.3f}** times the pixels of {SIZES[1][0]}×{SIZES[1][1]}, and costs "
        f"follow the pixels: Layer16 with full gates costs {giga(open_at[0].all_open)} and {giga(open_at[1].all_open)} "
        f"GFLOPs with every path open, {open_at[0].all_open / open_at[1].all_open:.3f} times as much.\n\n"
    )
    lines = []
    for row in ("dynamic-a", "dynamic-b", "dynamic-c"):
        budget = ROWS[row].train.budget
        assert isinstance(budget, Budget)
        target = budget.target * PUBLISHED_BUDGET_MACS
        at_full, published = published_table(ROWS[row].model, "paper"), PUBLISHED[row]
        real = target * pixels + at_full.all_closed
        paper = published.paper_gmacs
        lines.append([row, f"{budget.target:g}", giga(target), giga(target * pixels), giga(real), str(paper)])
    header = ["row", "μ", "target, 768×768", "target, 1024×2048", "+ stem, head, gates", "paper reports"]
    return (
        text
        + markdown_table(header, lines)
        + ("\n\nGFLOPs. The target is an *expected* cost. The published rows stay above it: it is no cap.")
    )


def network_fix() -> str:
    """Where the gates' own cost puts Network-Fix: its parts beside those of Dynamic-Raw."""
    raw, fixed = (published_table(ROWS[row].model, "paper") for row in ("dynamic-raw", "network-fix"))
    small = published_table(ROWS["dynamic-c"].model, "paper")
    names = ("Dynamic-Raw, all open", "small gate, all open", "Network-Fix")
    lines = [
        [name, *(giga(macs) for macs in parts_of(table).values()), giga(table.all_open)]
        for name, table in zip(names, (raw, small, fixed), strict=True)
    ]
    share = (raw.all_open - fixed.all_open) / raw.all_open_expected
    return markdown_table(["network", *parts_of(raw), "all"], lines) + (
        f"\n\nGFLOPs at 1024×2048, paper's accounting. To cost less than Network-Fix, Dynamic-Raw must close "
        f"**{share:.1%}** of what its gates decide about; with the small gate "
        f"{(small.all_open - fixed.all_open) / small.all_open_expected:.1%} is enough."
    )


def gate_bias() -> str:
    """Factor, gradient and open paths by the bias that a gate starts from."""
    opened = open_at_start()
    lines = [[f"{bias:g}", f"{factor(bias):.3f}", f"{gradient(bias):.3f}", f"{opened[bias]:.1%}"] for bias in BIASES]
    return markdown_table(["bias", "factor at the bias", "gradient at the bias", "paths open at the start"], lines) + (
        f"\n\nPaths open: measured on one network as initialised (seed 0, Layer16 with C = {SEEDED.channels}, four "
        f"noise images of 64×64, batch statistics). The published bias is {GATE_BIAS:g}."
    )


def gate_drawing() -> str:
    """The gate's function and gradient at several biases."""
    return figure_block(gate_figure())


def losses() -> str:
    """What the authors reported of their loss, with the learning rate there; and the loss of a guess."""
    lines = []
    for said in HEARSAY:
        if said.quantity == "loss" and said.iteration is not None:
            config = ROWS[said.row].train
            lr = learning_rate(config, said.iteration)
            lines.append(
                [said.row, f"{said.iteration // 1000} K", f"{said.value:g}", f"{lr:.2g}", f"{said.who}, {said.source}"]
            )
    classes = RAW.model.classes
    return markdown_table(["row", "iteration", "loss", "lr there", "reported by"], lines) + (
        f"\n\nReported, not measured here. For scale: a network that gives all {classes} classes one probability has a "
        f"loss of ln {classes} = {math.log(classes):.2f}."
    )


def measured_losses(results: Results) -> str:
    """The committed runs' last losses, each with its marks: another data set, width and schedule."""
    lines = [
        [record.label, str(facts.iterations), NOTHING if facts.final_loss is None else f"{facts.final_loss:.3f}"]
        for record, facts in ((one.record, one.record.training) for one in results.committed)
    ]
    header = ["run", "iterations", "loss, mean of the last tenth"]
    return markdown_table(header, lines) + "\n\nMeasured here, on other data than the published rows: not comparable."


def small_batches() -> str:
    """Settings for a batch of 8 in parts, and for smaller batches with a scaled learning rate."""
    base = RAW.train
    lines = []
    for fits in (8, 4, 2):
        parts = base.batch // fits
        same = NOTHING if parts == 1 else f"train.accumulate={parts}"
        lr = base.lr * fits / PUBLISHED_BATCH
        smaller = NOTHING if parts == 1 else f"train.batch={fits} train.lr={lr:g}"
        lines.append([str(fits), same, smaller, f"{base.iterations * fits / CITYSCAPES_TRAIN:.0f}"])
    header = ["images that fit", "the same batch of 8, in parts", "or a smaller batch", "epochs of the smaller batch"]
    said = next(h for h in HEARSAY if "one GPU" in h.setting)
    return markdown_table(header, lines) + (
        f"\n\nSettings go after `--set`; epochs are of Cityscapes' {CITYSCAPES_TRAIN} training images in "
        f"{base.iterations} iterations. What happens otherwise, as {said.who} reports ({said.source}): "
        f"{said.setting}, about {said.value:.0f} mIoU."
    )


def recipe_drawing() -> str:
    """Learning rate, budget and drop path over the iterations."""
    return figure_block(recipe_figure())


def recipe_groups() -> str:
    """The optimiser's parameter groups of Dynamic-Raw with ImageNet weights, the row whose gates learn faster."""
    row = ROWS["dynamic-raw-imagenet"]
    with torch.device("meta"):
        model = Segmenter(row.model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    lines = []
    for group in make_optimizer(model, row.train).param_groups:
        gate = any(".gate." in names[id(p)] for p in group["params"])
        count = sum(p.numel() for p in group["params"])
        kind = "batch norm" if group["weight_decay"] == 0 else "convolutions"
        where = "gates" if gate else "everywhere else"
        lines.append([kind, where, f"{group['weight_decay']:g}", f"{group['lr_factor']:g}", str(count)])
    return markdown_table(["parameters", "of", "weight decay", "lr ×", "count"], lines)


def recipe_table() -> str:
    """Learning rate, budget weight and drop path at chosen shares of each schedule."""
    lines = []
    for row in ("dynamic-a", "dynamic-raw", "dynamic-raw-long", "dynamic-raw-imagenet"):
        config, layers = ROWS[row].train, ROWS[row].model.layers
        for iteration in (0, config.warmup_iterations, config.iterations // 2, config.iterations - 1):
            dropped = drop_probability(config, layers - 1, layers, iteration)
            lines.append([row, str(iteration), f"{learning_rate(config, iteration):.3g}", f"{dropped:.3f}"])
    return markdown_table(["row", "iteration", "lr", "drop path, last layer"], lines)


def recipe_short() -> str:
    """Settings of the published and of the short recipe, side by side, for dynamic-c at demo."""
    moves = ("optimizer", "lr", "weight_decay", "gates_by_sgd", "gate_lr_factor", "schedule", "average")
    shown = (*moves, "class_weights", "scales", "crop_height", "crop_width", "precise_bn_batches")
    published, short = (experiment("dynamic-c", recipe=recipe).train for recipe in ("published", "short"))
    lines = [[f"`train.{name}`", str(getattr(published, name)), str(getattr(short, name))] for name in shown]
    for part in ("weight", "start", "ramp", "descent", "ascent"):
        budgets = (f"{getattr(one.budget, part):.4g}" for one in (published, short))
        lines.append([f"`train.budget.{part}`", *budgets])
    return markdown_table(["setting", "published recipe", "short recipe"], lines)


def evaluation_views() -> str:
    """What test-time augmentation shows, and what it costs with every path open."""
    config = EvaluateConfig(scales=TTA_SCALES, flip=True)
    lines, total = [], 0
    for view in config.views:
        height, width = config.nominal_size(view)
        macs = cost_table(RAW.model, height=height, width=width, accounting="paper").all_open
        total += macs
        if not view.flipped:
            lines.append([f"{view.scale:g}", f"{height}×{width}", giga(macs), giga(2 * macs)])
    lines.append(["all", "", "", giga(total)])
    single = published_table(RAW.model, "paper").all_open
    return markdown_table(["scale", "shown at", "one view", "with its mirror image"], lines) + (
        f"\n\nGFLOPs of Layer16 with full gates, every path open: **{total / single:.1f}** times the single-scale cost."
    )
