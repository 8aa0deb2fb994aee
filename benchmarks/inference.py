"""How fast is inference? The plain model against the engines: all open, along routes, in batches; peak memory.

The network has the published width, small gates whose every path is open, and random weights: times do not depend on
them. `--parts` splits a long run; every part writes a file of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from timing import RESULTS, Times, alternate, finish, machine

from dynroute_core import InferenceEngine, ModelConfig, Route, RoutingSpace, Segmenter
from dynroute_core.cost import cost_table
from dynroute_core.engine.backend import BackendUnavailableError
from dynroute_core.space import INITIAL, Cell
from dynroute_core.system.machine import pick_device
from dynroute_suite.report.speed_record import Goal, Measurement

Run = Callable[..., object]
PARTS = ("open", "routes", "batch", "memory", "sizes")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GOALS = {"torch float32": 2.2, "torch bfloat16": 4.5, "native float32": 5.0, "native bfloat16": 10.0}
SIZES = ((128, 256), (160, 160), (256, 512), (512, 1024))  # of the part `sizes`, whatever --size says
GOAL_SIZE = (1024, 2048)  # what the goals of speed are set for
OVER_FLOOR, OVER_SHARE, OVER_BATCH, OF_MEMORY = 1.3, 0.03, 1.05, 0.5


def network(config: ModelConfig, device: torch.device) -> Segmenter:
    """Random weights; gates that leave every path open whatever they see."""
    torch.manual_seed(0)
    model = Segmenter(config).eval().requires_grad_(False)
    for cell in model.space.cells:
        gate = model.cell(cell).gate
        if gate is not None:
            torch.nn.init.zeros_(gate.factors.weight)
    return model.to(device)


def subject(name: str, model: Segmenter) -> Run | None:
    """`model`, or an engine by backend and dtype; None where the backend is not to be had here."""
    if name == "model":
        return torch.inference_mode()(model.__call__)
    backend, dtype = name.split()
    try:
        return InferenceEngine(model, dtype=DTYPES[dtype], backend=backend)  # type: ignore[arg-type]
    except BackendUnavailableError as error:
        print(f"left out: {name}: {error}", file=sys.stderr)
        return None


def names(device: torch.device) -> list[str]:
    compiled = "native" if device.type == "cpu" else device.type
    return ["model", *(f"{backend} {dtype}" for backend in ("torch", compiled) for dtype in DTYPES)]


def route_of(space: RoutingSpace, share: float, cost: Callable[[Route], float], seed: int) -> Route:
    """Random walks from the initial cell to the head, joined until they cost about `share` of everything."""
    rng = random.Random(seed)
    route: Route = frozenset()
    while cost(route) < share and len(route) < len(space.all_paths):
        cell: Cell | None = INITIAL
        walk = set()
        while cell is not None:
            path = rng.choice(space.paths(cell))
            walk.add((cell, path))
            cell = space.target(cell, path)
        route |= walk
    return route if share < 1 else frozenset(space.all_paths)


def route_share(config: ModelConfig, height: int, width: int) -> Callable[[Route], float]:
    """A route's MACs as a share of all-open: every gate, the operations of its cells, its paths."""
    table = cost_table(config, height=height, width=width, accounting="paper")

    def share(route: Route) -> float:
        opened = {cell for cell, _ in route}
        spent = sum(table.operations.get(cell, 0) for cell in opened) + sum(table.paths.get(path, 0) for path in route)
        return (table.all_closed + spent) / table.all_open

    return share


class Bench:
    """The subjects on one size."""

    def __init__(self, config: ModelConfig, height: int, width: int, runs: int, device: torch.device) -> None:
        self.config, self.size, self.runs, self.device = config, (height, width), runs, device
        self.model = network(config, device)
        self.images = (torch.rand(8, 3, height, width) * 255).to(torch.uint8).to(device)
        self.all_open = cost_table(config, height=height, width=width, accounting="paper").all_open
        self.share = route_share(config, height, width)
        made = {name: subject(name, self.model) for name in names(device)}
        self.subjects: dict[str, Run] = {name: run for name, run in made.items() if run is not None}
        self.measurements: list[Measurement] = []
        self.goals: list[Goal] = []

    def note(self, part: str, name: str, times: Times, items: int = 1, share: float = 1.0) -> None:
        macs = share * self.all_open * items
        self.measurements.append(times.measurement(part, name, self.size, items, macs=macs, share=share))

    def goal(self, text: str, wanted: float, measured: float, *, higher: bool) -> None:
        self.goals.append(Goal(text=text, wanted=wanted, measured=measured, higher=higher))

    def measure(self, subjects: Mapping[str, Callable[[], object]]) -> dict[str, Times]:
        return alternate(subjects, self.runs, self.device)

    def open(self, peaks: Mapping[str, float]) -> None:
        """Every path open: full logits, and labels alone."""
        one = self.images[:1]
        subjects = {name: lambda run=run: run(one) for name, run in self.subjects.items()}
        engines = {name: run for name, run in self.subjects.items() if isinstance(run, InferenceEngine)}
        subjects |= {f"{name}, labels": lambda run=run: run.labels(one) for name, run in engines.items()}
        times = self.measure(subjects)
        for name, found in times.items():
            self.note("open", name, found)
        for name in engines if self.size == GOAL_SIZE else ():
            ratio = times["model"].median / times[name].median
            self.goal(f"{name}: times the plain model's speed", GOALS.get(name, 20.0), ratio, higher=True)
            if not name.startswith("torch"):
                floor = self.all_open / 1e9 / peaks[name.split()[1]]
                self.goal(f"{name}: over the arithmetic floor", OVER_FLOOR, times[name].median / floor, higher=False)

    def routes(self, shares: list[float]) -> None:
        """Time against MACs, every route forced with its gates' factors."""
        ways = [route_of(self.model.space, share, self.share, seed=k) for k, share in enumerate(shares)]
        one = self.images[:1]
        for name, run in self.subjects.items():
            subjects = {
                str(k): lambda way=way, run=run: run(one, route=way, route_factors="gate") for k, way in enumerate(ways)
            }
            times = self.measure(subjects)
            whole = times[str(len(ways) - 1)].median
            worst = 0.0
            for k, way in enumerate(ways):
                self.note("routes", name, times[str(k)], share=self.share(way))
                worst = max(worst, times[str(k)].median / whole - self.share(way))
            if name != "model":
                self.goal(f"{name}: time share over MAC share, worst route", OVER_SHARE, worst, higher=False)

    def batch(self, sizes: list[int]) -> None:
        """A batch of different routes of half the MACs against its images alone."""
        ways = [route_of(self.model.space, 0.5, self.share, seed=100 + k) for k in range(max(sizes))]
        for name, run in self.subjects.items():
            # The plain model takes seconds an image: four are enough of it.
            for size in (size for size in sizes if name != "model" or size <= 4):
                some = ways[:size]

                def alone(run: Run = run, some: list[Route] = some) -> None:
                    for k, way in enumerate(some):
                        run(self.images[k : k + 1], route=way, route_factors="gate")

                def together(run: Run = run, some: list[Route] = some) -> None:
                    run(self.images[: len(some)], route=some, route_factors="gate")

                times = self.measure({"alone": alone, "together": together})
                mean = sum(map(self.share, some)) / size
                self.note("batch", f"{name}, one by one", times["alone"], size, mean)
                self.note("batch", f"{name}, batch", times["together"], size, mean)
                if name != "model" and size > 1:
                    ratio = times["together"].median / times["alone"].median
                    self.goal(f"{name}: batch of {size} over its images alone", OVER_BATCH, ratio, higher=False)

    def small(self) -> None:
        """No float32 engine slower than the model: one image and eight, every path open and a route for each."""
        for count in (1, len(self.images)):
            ways = [route_of(self.model.space, 0.5, self.share, seed=100 + k) for k in range(count)]
            forced: dict[str, object] = {"route": ways, "route_factors": "gate"}
            mean = sum(map(self.share, ways)) / count
            hows: tuple[tuple[str, float, dict[str, object]], ...] = (("all open", 1.0, {}), ("routes", mean, forced))
            for kind, share, how in hows:
                runs = {name: run for name, run in self.subjects.items() if "bfloat16" not in name}
                times = self.measure({name: partial(run, self.images[:count], **how) for name, run in runs.items()})
                for name, found in times.items():
                    what = f"{name}, C = {self.config.channels}, {kind}"
                    self.note("sizes", what, found, count, share)
                    if name != "model":
                        text = f"{what}, {count} of {self.size[0]}x{self.size[1]}: times the plain model's speed"
                        self.goal(text, 1.0, times["model"].median / found.median, higher=True)

    def memory(self) -> None:
        """Each subject in a process of its own: the most an image adds to it. Linux with glibc alone says."""
        peaks: dict[str, float] = {}
        for name in self.subjects:
            for what in ("logits", "labels"):
                if name == "model" and what == "labels":
                    continue
                command = [sys.executable, __file__, "--peak-of", name, what, "--size", *map(str, self.size)]
                command += ["--channels", str(self.config.channels), "--layers", str(self.config.layers)]
                shown = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds, peak = map(float, shown.stdout.split()[-2:])
                full = name if name == "model" else f"{name}, {what}"
                peaks[full] = peak
                self.note("memory", full, Times((seconds,)))
                self.measurements[-1] = replace(self.measurements[-1], peak_mb=peak)
        for name, peak in peaks.items():
            if name != "model":
                self.goal(f"{name}: peak memory of the model's", OF_MEMORY, peak / peaks["model"], higher=False)


def peak_of(name: str, what: str, config: ModelConfig, height: int, width: int) -> None:
    """Prints the seconds of the second image, and the MB that an image takes beside the weights."""
    run = subject(name, network(config, torch.device("cpu")))
    assert run is not None
    ctypes.CDLL(None).malloc_trim(0)  # what building left free would hide what an image takes
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak, to which building belongs
    image = torch.zeros(1, 3, height, width)
    job = {"run": lambda: run.labels(image) if isinstance(run, InferenceEngine) and what == "labels" else run(image)}
    times = alternate(job, 1, torch.device("cpu"))["run"]
    print(times.median, (resident("VmHWM") - before) / 1e6)


def resident(field: str) -> int:
    """Bytes of memory this process holds (VmRSS), or the most it held (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def all_sizes(config: ModelConfig, runs: int, device: torch.device, *, short: bool) -> Bench:
    """`Bench.small` at every size and width, in one."""
    found: Bench | None = None
    for channels in (16,) if short else (16, 64):
        for height, width in SIZES[:2] if short else SIZES:
            bench = Bench(replace(config, channels=channels, stem_channels=channels), height, width, runs, device)
            bench.small()
            if found is not None:
                bench.measurements, bench.goals = found.measurements + bench.measurements, found.goals + bench.goals
            found = bench
    assert found is not None
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="512x1024, few runs and routes")
    parser.add_argument("--size", type=int, nargs=2, help="height and width (1024 2048; short: 512 1024)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--runs", type=int, help="rounds after the warm-up (3; short: 2)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--allocator", choices=("default", "keep"), default="default")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--peak-of", nargs=2, metavar=("SUBJECT", "WHAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.size = given.size or ([512, 1024] if given.short else [1024, 2048])
    given.runs = given.runs or (2 if given.short else 3)
    return given


def main() -> None:
    given = arguments()
    height, width = given.size
    config = ModelConfig(
        gate="small", channels=given.channels, layers=given.layers, stem_channels=min(given.channels, 64)
    )
    if given.peak_of:
        name, what = given.peak_of
        peak_of(name, what, config, height, width)
        return
    device = pick_device(given.device)
    here = machine(device, given.allocator)
    for part in given.parts:
        if part == "sizes":
            sizes = all_sizes(config, given.runs, device, short=given.short)
            finish(
                "inference", f"Inference, sizes, Layer{given.layers}",
                short=given.short, machine=here, measurements=sizes.measurements, goals=sizes.goals,
                out=given.out / f"inference-sizes-{device.type}-{given.allocator}.json",
            )  # fmt: skip
            continue
        bench = Bench(config, height, width, given.runs, device)
        if part == "open":
            bench.open(here.peak_gmacs_per_s)
        elif part == "routes":
            bench.routes(
                [0.1, 0.25, 0.5, 0.75, 1.0] if given.short else [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
            )
        elif part == "batch":
            bench.batch([1, 4] if given.short else [1, 4, 8])
        elif device.type == "cpu":
            bench.memory()
        finish(
            "inference", f"Inference, {part}, Layer{given.layers}, C = {given.channels}, {height}x{width}",
            short=given.short, machine=here, measurements=bench.measurements, goals=bench.goals,
            out=given.out / f"inference-{part}-{height}x{width}-{device.type}-{given.allocator}.json",
        )  # fmt: skip


if __name__ == "__main__":
    main()
