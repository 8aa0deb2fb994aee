"""Figures of the training recipe, drawn from the functions that training itself calls; and of the gate's activation.

Takes rows and their settings; gives `Picture`s. Trains nothing: the share of open paths is of networks as initialised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynroute_core.cell import GATE_BIAS, OPEN, Gate
from dynroute_core.experiments import ROWS
from dynroute_core.losses import budget_ramp
from dynroute_core.model import Segmenter
from dynroute_core.optimizer import learning_rate
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import OPEN_THRESHOLD, ModelConfig
from dynroute_suite.figures.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    ROW_COLORS,
    ROW_LABELS,
    VERMILION,
    WIDTH_IN,
    Picture,
    figure_style,
    picture,
)
from dynroute_suite.report.numbers import MINUS

LR_ROWS = ("dynamic-raw", "dynamic-raw-long", "dynamic-raw-imagenet")
BIASES = (-1.5, 0.0, 0.75, GATE_BIAS, 3.0)
SEEDED = ModelConfig(channels=8, stem_channels=16)


def recipe_figure() -> Picture:
    """Learning rate, its warm-up, the budget's weight and drop path, over the published schedules."""
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 4.6), layout="constrained")
        (whole, start), (ramp, drop) = figure.subplots(2, 2)
        _learning_rates(whole, "Learning rate, whole schedule", share=1.0)
        _learning_rates(start, "Learning rate, warm-up", share=0.0)
        _budget(ramp)
        _drop_path(drop)
        whole.legend(loc="upper right")
    raw, budget = ROWS["dynamic-raw"].train, ROWS["dynamic-a"].train.budget
    assert budget is not None
    long = ROWS["dynamic-raw-long"].train
    alt = (
        f"Learning rate of Dynamic-Raw: warm-up over {raw.warmup_iterations} iterations to about {raw.lr}, then a fall "
        f"to 0 at {raw.iterations}; the budget's weight is 0 until {budget.start:.0%} of the iterations and 1 from "
        f"{budget.start + budget.ramp:.0%}; drop path of the long row rises to {long.drop_path} in the last layer."
    )
    return picture(figure, alt=alt)


def _learning_rates(ax: Axes, title: str, *, share: float) -> None:
    for row in LR_ROWS:
        config = ROWS[row].train
        last = config.iterations if share else 2 * config.warmup_iterations
        iterations = np.linspace(0, last - 1, 400).astype(int)
        values = [learning_rate(config, int(i)) for i in iterations]
        dashes = "--" if row == "dynamic-raw-long" else "-"  # it lies on Dynamic-Raw's while both warm up
        ax.plot(iterations / 1000, values, color=ROW_COLORS[row], linestyle=dashes, label=ROW_LABELS[row])
    ax.set_title(title)
    ax.set_xlabel("iteration (thousands)")
    ax.set_ylim(0)


def _budget(ax: Axes) -> None:
    config = ROWS["dynamic-a"].train
    assert config.budget is not None
    iterations = np.linspace(0, config.iterations, 1001).astype(int)
    ax.plot(iterations / 1000, [budget_ramp(config.budget, int(i), config.iterations) for i in iterations], color=BLUE)
    ax.set_title("Weight w of the budget loss")
    ax.set_xlabel("iteration (thousands)")


def drop_probability(config: TrainConfig, layer: int, layers: int, iteration: int) -> float:
    """Of an operation's output in a layer (0-based) being dropped, at a 0-based iteration."""
    return config.drop_path * iteration / config.iterations * (layer + 1) / layers


def _drop_path(ax: Axes) -> None:
    row = ROWS["dynamic-raw-long"]
    layers = range(row.model.layers)
    for share, color in ((1 / 3, GREY), (2 / 3, ORANGE), (1.0, VERMILION)):
        at = round(share * row.train.iterations)
        values = [drop_probability(row.train, layer, row.model.layers, at) for layer in layers]
        ax.plot(layers, values, color=color, marker=".", label=f"at {at / 1000:.0f} K")
    ax.set_title("Drop path, long schedule")
    ax.set_xlabel("layer")
    ax.legend()


def gate_figure() -> Picture:
    """The activation max(0, tanh(x)) and its gradient, with the biases at which a gate could start."""
    x = np.linspace(-2.2, 3.4, 300)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.9), layout="constrained")
        ax = figure.subplots()
        ax.set_title("A gate's factor and gradient around its bias")
        ax.plot(x, factor(x), color=BLUE, label="factor α = max(0, tanh x)")
        ax.plot(x, gradient(x), color=VERMILION, linestyle="--", label="gradient dα/dx")
        for bias in BIASES:
            own = bias == GATE_BIAS
            style = "-" if own else ":"
            ax.vlines(bias, 0, 1.02, color=BLACK if own else GREY, linewidth=1.4 if own else 0.8, linestyle=style)
            name = f"{bias:g}".replace("-", MINUS)
            ax.annotate(name, (bias, 1.06), ha="center", fontsize=9, fontweight="bold" if own else "normal")
        ax.set_ylim(-0.03, 1.16)
        ax.set_xlabel("the gate's output before the activation")
        ax.legend(loc="center left")
    said = "; ".join(f"at {b:g} factor {factor(b):.3f}, gradient {gradient(b):.3f}" for b in BIASES)
    return picture(figure, alt=f"max(0, tanh x) and its gradient: {said}. The published bias is {GATE_BIAS}.")


def factor(x: np.ndarray | float) -> np.ndarray:
    return np.maximum(0, np.tanh(x))


def gradient(x: np.ndarray | float) -> np.ndarray:
    """dα/dx; 0 on the closed side, where nothing pulls a path open again."""
    return np.where(np.asarray(x) > 0, 1 - np.tanh(x) ** 2, 0)


def open_at_start(
    biases: Sequence[float] = BIASES, *, config: ModelConfig = SEEDED, seed: int = 0
) -> Mapping[float, float]:
    """Share of the paths that are open (factor above 1e-4) in a network as initialised, by its gates' bias.

    One seeded network, four noise images of 64×64, batch statistics as in training's first step.
    """
    found = {}
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        model = Segmenter(config).train()
        images = torch.rand(4, 3, 64, 64) * 255
        for bias in biases:
            for module in model.modules():
                if isinstance(module, Gate):
                    assert module.factors.bias is not None
                    module.factors.bias.fill_(bias)
            gates = model(images).gates.values()
            # A closed cell's keep of 1 is its identity, not an open path.
            opened = [(gate.factors > OPEN_THRESHOLD) & (gate.state == OPEN)[:, None] for gate in gates]
            found[bias] = float(torch.cat(opened, dim=1).double().mean())
    return found
