"""Finished runs on near and far streets by the short recipe, made up: each cost, route and hit as the test says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dynroute_core.experiments import experiment
from dynroute_core.runs.record import RECORD, ROUTES, CostRange, Record, write_record
from dynroute_core.space import ModelConfig
from dynroute_core.system.strict_json import to_json
from support.sample_records import plain_settings, sample_record, sample_routes

EACH = 6  # near images, and as many far ones
NAMES = tuple(f"{kind}/{kind}_{k:06d}_000019" for kind in ("near", "far") for k in range(EACH))
GATED = ModelConfig(layers=4, channels=4, gate="small")
FIXED = ModelConfig(layers=4, channels=4, gate="none")
DEAREST = 10**9


def write_trial_run(
    folder: Path,
    row: str,
    *,
    seed: int = 0,
    cost: float = 1e6,
    far_costs: float = 1.5,
    own_ways: bool = True,
    hits: int = 10,
    reached: float = 1.0,
    iterations: int = 600,
    recipe: str = "short",
    data: str = "streets",
) -> Record:
    """A run of which every image has `hits` right pixels of 20 in each class. A near image costs about `cost` (MACs), a
    far one `far_costs` times as much. own_ways: whether each kind has a route of its own; all images share one
    otherwise. reached: the expected cost at the end, times the target."""
    gated = row.startswith("dynamic")
    config, images = GATED if gated else FIXED, len(NAMES)
    base, routes = sample_record(config, images=images), sample_routes(config, row=row, images=images)
    own = replace(experiment(row, data=data, seed=seed, recipe=recipe), model=config)
    if data == "streets":
        own = replace(own, data=replace(own.data, scenes="mixed"))
    classes = len(base.data.class_names)
    costs = [cost * (1 + 0.001 * k) * (far_costs if k >= EACH else 1) for k in range(images)]
    ways = [routes.images[0], routes.images[-1 if own_ways else 0]]
    seen = [
        replace(
            ways[k >= EACH],
            name=name,
            true_positive=(hits + k,) * classes,
            false_positive=(20 - hits,) * classes,
            false_negative=(0,) * classes,
        )
        for k, name in enumerate(NAMES)
    ]
    whole = CostRange(
        mean_macs=sum(costs) / images,
        min_macs=min(costs),
        max_macs=max(costs),
        all_closed_macs=0,
        all_open_macs=DEAREST,
    )
    budget, denominator = own.train.budget, own.train.budget_macs or 1.0
    record = replace(
        base,
        row=row,
        seed=seed,
        config=plain_settings(own),
        data=replace(base.data, name=data),
        costs=replace(base.costs, paper=whole),
        images=tuple(
            replace(image, name=name, paper_macs=macs)
            for image, name, macs in zip(base.images, NAMES, costs, strict=True)
        ),
        metrics=replace(base.metrics, miou_percent=5.0 * hits),
        training=replace(
            base.training,
            iterations=iterations,
            final_expected_macs=reached * denominator * (budget.target if budget else 1.0),
        ),
    )
    place = folder / row / f"demo-{data}-{recipe}-{iterations}-seed{seed}"
    place.mkdir(parents=True)
    (place / ROUTES).write_bytes(to_json(replace(routes, images=tuple(seen))))
    write_record(place / RECORD, record)
    return record
