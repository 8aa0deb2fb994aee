"""What are a run's routes worth? Every image by its own route, by another image's, and by the best of all observed.

    python benchmarks/controls.py runs/dynamic-c/demo-streets-seed0-KEY --data FOLDER

Prints mIoU and mean cost by the gates and on three choices of forced routes. Another image's: the run's own routes in a
random order, which costs the same on the whole. The best: of the observed routes that cost an image no more than its
own, the one with the highest mIoU of the image; it looks at the labels, and shows what the gates leave on the table.
Forced routes are compared with one another: what a closed cell passes on is lost on them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from finished_run import command, val_samples

from dynroute_core.cell import RouteFactors
from dynroute_core.engine.inference import InferenceEngine
from dynroute_core.evaluate import ImageResult, OnRoute, evaluate
from dynroute_core.metrics import mean_iou
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.record import ROUTES, read_routes
from dynroute_core.space import RoutingSpace
from dynroute_suite.report.flow import open_names

ORDERS, SEED = 100, 2020


@dataclass(frozen=True)
class Tried:
    """Every image on every observed route. own: of each image, which of them it took. results: of each route, of each
    image."""

    own: tuple[int, ...]
    results: tuple[tuple[ImageResult, ...], ...]

    def chosen(self, routes: Sequence[int]) -> tuple[float, float]:
        """mIoU in percent and mean cost in MACs, with a route for each image."""
        taken = [self.results[route][image] for image, route in enumerate(routes)]
        miou = 100 * mean_iou(np.sum([one.confusion for one in taken], axis=0))
        return miou, float(np.mean([one.route.macs.paper for one in taken]))

    def best(self) -> tuple[int, ...]:
        """Of each image, the route with its highest mIoU among those that cost it no more than its own."""
        return tuple(self._best_of(image) for image in range(len(self.own)))

    def random_orders(self) -> list[tuple[float, float]]:
        """What the images' own routes give in random orders."""
        generator = np.random.Generator(np.random.PCG64(SEED))
        return [self.chosen(generator.permutation(self.own).tolist()) for _ in range(ORDERS)]

    def _best_of(self, image: int) -> int:
        ways = [by_image[image] for by_image in self.results]
        limit = ways[self.own[image]].route.macs.paper
        allowed = [index for index, way in enumerate(ways) if way.route.macs.paper <= limit]
        return max(allowed, key=lambda index: mean_iou(ways[index].confusion))


def controls(folder: Path, data: Path | None) -> None:
    """Tries the routes of the run in `folder`, and prints a table for each kind of factors."""
    run = FinishedRun.open(folder)
    chosen, engine, routes = run.experiment, InferenceEngine(run.model()), read_routes(folder / ROUTES)
    samples = val_samples(chosen, data)
    taken = {image.name: open_names(routes, image) for image in routes.images}
    different = sorted(set(taken.values()), key=sorted)
    space, device = RoutingSpace.of(chosen.model), torch.device("cpu")
    print(f"{run.record.label}: {len(samples)} images, {len(different)} routes")
    print(_line("the gates", run.record.metrics.miou_percent, run.record.costs.paper.mean_macs))
    for factors in get_args(RouteFactors):
        ways = [OnRoute(engine, space.parse_paths(sorted(names)), factors) for names in different]
        found = [evaluate(way, samples, chosen.evaluate, classes=chosen.model.classes, device=device) for way in ways]
        own = tuple(different.index(taken[sample.name]) for sample in samples)
        tried = Tried(own, tuple(one.images for one in found))
        orders = np.array(tried.random_orders())
        print(f"forced, factors: {factors}")
        print(_line("own route", *tried.chosen(tried.own)))
        spread = f"  standard deviation over {ORDERS} orders {orders[:, 0].std():.3f}"
        print(_line("another's route", *orders.mean(0).tolist()) + spread)
        print(_line("best observed route", *tried.chosen(tried.best())))


def _line(name: str, miou_percent: float, macs: float) -> str:
    return f"{name:20} mIoU {miou_percent:7.3f}  {macs / 1e9:.4f} GFLOPs"


def main() -> int:
    """The command; returns its exit code."""
    return command("controls.py", __doc__ or "", controls)


if __name__ == "__main__":
    sys.exit(main())
