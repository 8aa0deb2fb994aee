"""Checks and times the CUDA kernels on a GPU, in one command; a speed record goes to `results/speed/`.

    python benchmarks/gpu.py [--size 1024x2048] [--gate full|small] [--batches 1,4,8] [--runs 30] [--skip-tests]

First the tests marked `gpu` (parity in float64, poisoned outputs, routes, graphs, no host synchronisation, sanitizer);
nothing is timed where one fails. Then alternating runs of the plain eager model (float32, TF32 as torch has it), the
plain torch engine and the CUDA network on the same images: all paths open, routes from 10 % to 100 % of the MACs,
batches whose images take different routes, and the gates' own routes. Weights are random (seed 0), forced factors 1.

Exits with 3, and says why in one line, where there is no GPU or no nvcc; with another code where a test fails.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from timing import RESULTS, ROOT, alternate, finish, machine
from torch import Tensor

from dynroute_core import InferenceEngine, Route, RoutingSpace, Segmenter
from dynroute_core.cost import CostTable, cost_table
from dynroute_core.engine.backend import folded
from dynroute_core.engine.network_spec import network_spec
from dynroute_core.space import INITIAL, ModelConfig
from dynroute_suite.report.speed_record import Measurement

SHARES = tuple(step / 10 for step in range(1, 11))
COPIED = 2**15  # squared: a copy of 1 GiB
Run = Callable[[], object]
Labels = Callable[[Tensor, Tensor | None], Tensor]  # images, masks of a forced route → train ids


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    if lack := missing():
        print(f"benchmarks/gpu.py: nothing checked or timed: {lack}", file=sys.stderr)
        return 3
    if not given.skip_tests and (code := run_tests()):
        print("benchmarks/gpu.py: nothing timed: a test failed.", file=sys.stderr)
        return code
    from dynroute_kernels.cuda.network import CudaNetwork

    device = torch.device("cuda")
    model = make_model(given).to(device)
    network = CudaNetwork(network_spec(folded(model, torch.float32)), dtype=torch.bfloat16, device=device)
    report(Contest(model, lambda images, masks: network.labels(network.run(images, masks)), device), given)
    return 0


def make_model(given: argparse.Namespace) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(ModelConfig(layers=given.layers, channels=given.channels, gate=given.gate)).eval()


def report(contest: Contest, given: argparse.Namespace) -> None:
    """Times everything and writes the record."""
    height, width = given.size
    here = machine(contest.device, "default")
    finish(
        "inference",
        f"The CUDA network, {given.gate} gate, {given.layers} layers, C = {given.channels}",
        short=given.runs < 10,
        machine=here,
        measurements=[*measure(contest, given), copy_time(contest.device, given.runs)],
        goals=[],
        out=given.out / f"gpu-{given.gate}-{height}x{width}.json",
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check and time the CUDA kernels on a GPU.")
    parser.add_argument("--size", type=_size, default=(1024, 2048), help="HEIGHTxWIDTH")
    parser.add_argument("--gate", choices=("full", "small"), default="full")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=[1, 4, 8])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--skip-tests", action="store_true", help="time without running the tests first")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def _size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def missing() -> str:
    """Why nothing can run here, or nothing."""
    from dynroute_kernels.cuda.build import find_nvcc

    if not torch.cuda.is_available():
        return "there is no CUDA device."
    return "" if find_nvcc() else "there is no nvcc to build the kernels with (set CUDA_HOME)."


def run_tests() -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


class Contest:
    """The same images, by the same routes, through everything that is compared."""

    def __init__(self, model: Segmenter, labels: Labels, device: torch.device) -> None:
        self.model, self.labels, self.device = model, labels, device
        self.float32 = InferenceEngine(model, dtype=torch.float32, backend="torch")
        self.bf16 = InferenceEngine(model, dtype=torch.bfloat16, backend="torch")

    def forced(self, images: Tensor, routes: Sequence[Route], *, against: bool) -> dict[str, Run]:
        """against: the plain model and the torch engines too, which are slow."""
        masks = route_masks(self.model.space, routes).to(self.device)
        self.check_without_waiting(images, masks)
        runs: dict[str, Run] = {"cuda bfloat16, labels": lambda: self.labels(images, masks)}
        if against:
            runs["model"] = lambda: self.model(images, route=routes).logits
            runs["torch float32, labels"] = lambda: self.float32.labels(images, route=routes)
            runs["torch bfloat16, labels"] = lambda: self.bf16.labels(images, route=routes)
        return runs

    def gated(self, images: Tensor) -> dict[str, Run]:
        return {
            "cuda bfloat16, labels": lambda: self.labels(images, None),
            "model": lambda: self.model(images).logits,
        }

    def check_without_waiting(self, images: Tensor, masks: Tensor) -> None:
        """A forward and its labels make the host wait for nothing: torch raises where one would."""
        if self.device.type != "cuda":
            return
        self.labels(images, masks)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            self.labels(images, masks)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@torch.inference_mode()
def measure(contest: Contest, given: argparse.Namespace) -> list[Measurement]:
    """Parts: `open`, all paths forced; `routes`, a forced share; `batch`, several images; `gates`, their own routes."""
    model, routes = contest.model, routes_by_share(contest.model.config, given.size)
    table = cost_table(model.config, height=given.size[0], width=given.size[1], accounting="paper")
    generator = torch.Generator().manual_seed(0)
    found: list[Measurement] = []

    def note(part: str, runs: dict[str, Run], items: int, share: float, whole: int) -> None:
        peaks = {name: peak_mb(run, contest.device) for name, run in runs.items()}
        for name, times in alternate(runs, given.runs, contest.device).items():
            one = times.measurement(part, name, given.size, items, macs=items * share * whole, share=share)
            found.append(replace(one, peak_mb=peaks[name]))

    everything = forced_macs(model.space, table, routes[-1][1])
    for batch in given.batches:
        images = torch.randint(0, 256, (batch, 3, *given.size), generator=generator, dtype=torch.uint8)
        images = images.to(contest.device)
        for share, route in routes:
            runs = contest.forced(images, [route] * batch, against=share == 1)
            note("batch" if batch > 1 else "open" if share == 1 else "routes", runs, batch, share, everything)
        if batch == 1:  # the curve of time against MACs ends at its own all-open time
            found += [replace(one, part="routes") for one in found if one.part == "open" and "cuda" in one.subject]
        else:
            ways = [routes[(3 * image + 2) % len(routes)] for image in range(batch)]  # a different share for each
            runs = contest.forced(images, [route for _, route in ways], against=True)
            note("batch", runs, batch, sum(share for share, _ in ways) / batch, everything)
        size = {"height": given.size[0], "width": given.size[1]}
        taken = model(images).cost(**size, accounting="paper").realised_macs.mean().item()
        note("gates", contest.gated(images), batch, taken / table.all_open, table.all_open)
    return found


def route_masks(space: RoutingSpace, routes: Sequence[Route]) -> Tensor:
    """cells × N × 4, as `CudaNetwork.run` takes them."""
    rows = [[[(c, p) in route for p in ("keep", "up", "down")] + [False] for route in routes] for c in space.cells]
    return torch.tensor(rows, dtype=torch.uint8)


def routes_by_share(config: ModelConfig, size: tuple[int, int]) -> list[tuple[float, Route]]:
    """(share of the MACs, route): of 2000 random routes the nearest to each tenth; all paths open last.

    Shares leave the gates out, which a forced route does not compute.
    """
    space = RoutingSpace.of(config)
    table = cost_table(config, height=size[0], width=size[1], accounting="paper")
    everything = forced_macs(space, table, frozenset(space.all_paths))
    rng = random.Random(0)
    drawn: list[tuple[float, Route]] = []
    for _ in range(2000):
        kept = rng.random()
        route = frozenset(path for path in space.all_paths if path[0] == INITIAL or rng.random() < kept)
        drawn.append((forced_macs(space, table, route) / everything, route))
    nearest = [min(drawn, key=lambda found: abs(found[0] - wanted)) for wanted in SHARES[:-1]]
    return [*nearest, (1.0, frozenset(space.all_paths))]


def forced_macs(space: RoutingSpace, table: CostTable, route: Route) -> int:
    """What an image costs by a forced route with factors of 1: as `routing_cost` counts, without the gates."""
    total, reached = table.stem + table.head, {INITIAL}
    for cell in space.cells:
        opened = [path for path in space.paths(cell) if (cell, path) in route]
        if cell not in reached or not opened:
            continue
        total += table.operations.get(cell, 0) + sum(table.paths.get((cell, path), 0) for path in opened)
        reached |= {target for path in space.paths(cell) if (target := space.target(cell, path)) is not None}
    return total


def peak_mb(run: Run, device: torch.device) -> float | None:
    """10⁶ bytes that a run takes on the GPU beside what is held before it."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - held) / 1e6


def copy_time(device: torch.device, runs: int) -> Measurement:
    """A copy within the device's memory: what bounds a step that computes little."""
    source = torch.empty(COPIED, COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = alternate({"copy": lambda: target.copy_(source)}, runs, device)["copy"]
    return times.measurement("copy", "a byte per pixel, read and written", (COPIED, COPIED), 1, macs=0)


if __name__ == "__main__":
    sys.exit(main())
