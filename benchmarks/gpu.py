"""Checks and times the CUDA kernels on a GPU, in one command, and writes what it measured to `results/speed/`.

    python benchmarks/gpu.py [--size 1024x2048] [--gate full|small] [--batches 1,4,8] [--repeats 30] [--skip-tests]

First the tests marked `gpu` (parity in float64, poisoned outputs, routes, graphs, no host synchronisation, sanitizer);
nothing is timed where one fails. Then alternating runs of the plain eager model (float32, TF32 as torch has it), the
plain torch engine and the CUDA network on the same images: all paths open, routes from 10 % to 100 % of the MACs,
batches whose images take different routes. Medians and quartiles; beside them the GPU's own copy and bf16 matrix rates.

Exits with 3, and says why in one line, where there is no GPU or no nvcc; with another code where a test fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dynroute_core import InferenceEngine, Route, RoutingSpace, Segmenter
from dynroute_core.cost import CostTable, cost_table
from dynroute_core.engine.backend import folded
from dynroute_core.engine.network_spec import network_spec
from dynroute_core.space import INITIAL, ModelConfig

ROOT = Path(__file__).resolve().parents[1]
SHARES = tuple(step / 10 for step in range(1, 11))
Run = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds per call: median and quartiles over `repeats` calls, each between two CUDA events."""

    what: str
    batch: int
    share_of_macs: float | None  # None: by its own gates
    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    repeats: int
    peak_mib: float


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    lack = missing()
    if lack:
        print(f"benchmarks/gpu.py: nothing checked or timed: {lack}", file=sys.stderr)
        return 3
    if not given.skip_tests and (code := run_tests()):
        print("benchmarks/gpu.py: nothing timed: a test failed.", file=sys.stderr)
        return code
    config = ModelConfig(layers=given.layers, channels=given.channels, gate=given.gate)
    torch.manual_seed(0)
    model = Segmenter(config).eval().cuda()
    timings = measure(model, given)
    report = {
        "schema": 1,
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "config": dataclasses.asdict(config),
        "height": given.size[0],
        "width": given.size[1],
        "weights": "random, seed 0; routes are forced, factors 1",
        "tests_ran": not given.skip_tests,
        "copy_gb_per_s": copy_rate(),
        "bf16_tflop_per_s": matrix_rate(),
        "timings": [dataclasses.asdict(timing) for timing in timings],
    }
    show(timings)
    given.out.mkdir(parents=True, exist_ok=True)
    target = given.out / f"gpu-{given.gate}-{given.size[0]}x{given.size[1]}.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    print(f"Written to {target}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check and time the CUDA kernels on a GPU.")
    parser.add_argument("--size", type=_size, default=(1024, 2048), help="HEIGHTxWIDTH")
    parser.add_argument("--gate", choices=("full", "small"), default="full")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=[1, 4, 8])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--skip-tests", action="store_true", help="time without running the tests first")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed")
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

    def __init__(self, model: Segmenter) -> None:
        from dynroute_kernels.cuda.network import CudaNetwork

        spec = network_spec(folded(model, torch.float32))
        self.model = model
        self.network = CudaNetwork(spec, dtype=torch.bfloat16, device=torch.device("cuda"))
        self.float32 = InferenceEngine(model, dtype=torch.float32, backend="torch")
        self.bf16 = InferenceEngine(model, dtype=torch.bfloat16, backend="torch")

    def forced(self, images: Tensor, routes: Sequence[Route], *, against: bool) -> dict[str, Run]:
        """against: the plain model and the torch engines too, which are slow."""
        masks = route_masks(self.model.space, routes).cuda()
        self.check_without_waiting(images, masks)
        runs: dict[str, Run] = {
            "cuda network, bf16, labels": lambda: self.network.labels(self.network.run(images, masks))
        }
        if against:
            runs["model, eager float32, logits"] = lambda: self.model(images, route=routes).logits
            runs["engine, torch float32, labels"] = lambda: self.float32.labels(images, route=routes)
            runs["engine, torch bf16, labels"] = lambda: self.bf16.labels(images, route=routes)
        return runs

    def gated(self, images: Tensor) -> dict[str, Run]:
        return {
            "cuda network, bf16, labels, own gates": lambda: self.network.labels(self.network.run(images)),
            "model, eager float32, logits, own gates": lambda: self.model(images).logits,
        }

    def check_without_waiting(self, images: Tensor, masks: Tensor) -> None:
        """A forward and its labels make the host wait for nothing: torch raises where one would."""
        self.network.run(images, masks)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            self.network.labels(self.network.run(images, masks))
        finally:
            torch.cuda.set_sync_debug_mode("default")


def measure(model: Segmenter, given: argparse.Namespace) -> list[Timing]:
    contest = Contest(model)
    routes = routes_by_share(model.config, given.size)
    generator = torch.Generator().manual_seed(0)
    timings: list[Timing] = []
    for batch in given.batches:
        images = torch.randint(0, 256, (batch, 3, *given.size), generator=generator, dtype=torch.uint8).cuda()
        for share, route in routes:
            timings += alternate(
                contest.forced(images, [route] * batch, against=share == 1), batch, share, given.repeats
            )
        if batch > 1:
            ways = [routes[(3 * image + 2) % len(routes)] for image in range(batch)]  # a different share for each
            runs = contest.forced(images, [route for _, route in ways], against=True)
            timings += alternate(runs, batch, sum(share for share, _ in ways) / batch, given.repeats)
        timings += alternate(contest.gated(images), batch, None, given.repeats)
    return timings


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


@torch.inference_mode()
def alternate(runs: dict[str, Run], batch: int, share: float | None, repeats: int) -> list[Timing]:
    """Each run in turn, again and again, so that a change of clock meets all alike."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, float] = {}
    for name, run in runs.items():
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        peaks[name] = (torch.cuda.max_memory_allocated() - held) / 2**20
    for _ in range(repeats):
        for name, run in runs.items():
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            run()
            last.record()
            last.synchronize()
            spent[name].append(first.elapsed_time(last))
    found = []
    for name, times in spent.items():
        lower, median, upper = statistics.quantiles(times, n=4)
        found.append(Timing(name, batch, share, median, lower, upper, repeats, peaks[name]))
    return found


def copy_rate() -> float:
    """GB/s read and written by a copy of 1 GiB: the best of ten."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / best_seconds(lambda: target.copy_(source)) / 1e9


def matrix_rate() -> float:
    """TFLOP/s of a bf16 matrix product of 8192³: the best of ten."""
    a = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    out = torch.empty_like(a)
    return 2 * 8192**3 / best_seconds(lambda: torch.mm(a, a, out=out)) / 1e12


def best_seconds(run: Run) -> float:
    run()
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def show(timings: Sequence[Timing]) -> None:
    print(f"{'what':42} {'batch':>5} {'MACs':>6} {'median ms':>10} {'quartiles':>19} {'peak MiB':>9}")
    for t in timings:
        spread = f"{t.lower_quartile_ms:8.3f} – {t.upper_quartile_ms:8.3f}"
        share = "gates" if t.share_of_macs is None else f"{t.share_of_macs:.2f}"
        print(f"{t.what:42} {t.batch:5} {share:>6} {t.median_ms:10.3f} {spread} {t.peak_mib:9.1f}")


if __name__ == "__main__":
    sys.exit(main())
