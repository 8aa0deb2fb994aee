"""A thousand small runs in one process: do memory, files and threads stay flat?

Each run trains two iterations, evaluates with the compiled or the plain engine, writes its record, and is read again;
rows, image sizes, crops, backends and seeds alternate, and one run of each cycle is stopped and taken up again. After
each, garbage is collected and what the process holds is counted. The verdict's rule: `benchmarks/soak_record.py`.

    python benchmarks/soak.py                     # 1000 runs: a quarter of an hour; results/soak/
    python benchmarks/soak.py --runs 60           # the short form
    python benchmarks/soak.py --runs 60 --leak file   # the verdict must be against it

Exit codes: 0 flat, 1 something grows, 3 this cannot be measured here.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import shutil
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from soak_figures import soak_figure, soak_lines  # noqa: E402
from soak_record import SOAK_SCHEMA, Series, SoakRecord, Unit, fewest_runs, write_soak  # noqa: E402

from dynroute_core.engine.backend import BackendUnavailableError  # noqa: E402
from dynroute_core.engine.inference import InferenceEngine  # noqa: E402
from dynroute_core.evaluate import BackendName  # noqa: E402
from dynroute_core.experiments import Experiment, experiment, with_settings  # noqa: E402
from dynroute_core.runs.pipeline import RunProgress, run  # noqa: E402
from dynroute_core.runs.plan import find_data  # noqa: E402
from dynroute_core.runs.record import CURVE, RECORD, ROUTES, read_curve, read_record, read_routes  # noqa: E402
from dynroute_core.system.files import write_whole  # noqa: E402
from dynroute_core.system.machine import device_name, versions  # noqa: E402
from dynroute_core.system.provenance import commit  # noqa: E402
from dynroute_core.system.streams import outlast_terminal  # noqa: E402
from dynroute_kernels import NativeNetwork  # noqa: E402
from dynroute_suite.figures.style import standalone  # noqa: E402

RESULTS = ROOT / "results" / "soak"
TINY = {
    "data.train_images": "2",
    "data.val_images": "2",
    "model.layers": "2",
    "train.iterations": "2",
    "train.checkpoint_every": "1",
    "train.log_every": "1",
    "train.precise_bn_batches": "1",
}


@dataclass(frozen=True)
class Setting:
    """What a run of the cycle does. size: (height, width) of the images, pixels; stopped: after its first iteration,
    and taken up again."""

    row: str
    backend: BackendName
    size: tuple[int, int]
    crop: int
    stopped: bool = False

    def experiment(self, seed: int) -> Experiment:
        height, width = self.size
        chosen = TINY | {
            "data.height": f"{height}",
            "data.width": f"{width}",
            "train.scales": f"[{height}]",
            "train.crop_height": f"{self.crop}",
            "train.crop_width": f"{self.crop}",
            "evaluate.backend": self.backend,
        }
        return with_settings(experiment(self.row, profile="smoke", seed=seed), chosen)

    def __str__(self) -> str:
        height, width = self.size
        stopped = ", stopped and taken up again" if self.stopped else ""
        return f"{self.row}, {self.backend}, images {height}x{width}, crops {self.crop}{stopped}"


CYCLE = (
    Setting("dynamic-a", "native", (64, 128), 32),
    Setting("dynamic-raw", "torch", (96, 160), 64),
    Setting("network-fix", "native", (96, 160), 32),
    Setting("dynamic-a", "torch", (64, 128), 64, stopped=True),
    Setting("dynamic-raw", "native", (64, 128), 64),
    Setting("network-fix", "torch", (96, 160), 32),
)


class StopHere(Exception):
    """Stops a run between two iterations."""


def one_run(setting: Setting, seed: int, data: Path, out: Path) -> InferenceEngine:
    """A run, its files read again, and its weights in an engine of the other backend; gives that engine."""
    chosen = setting.experiment(seed)

    def stop(progress: RunProgress) -> None:
        if (progress.phase, progress.done) == ("train", 1):
            raise StopHere

    if setting.stopped:
        try:
            run(chosen, data_root=data, out=out, device="cpu", report=stop)
        except StopHere:
            pass
        else:
            raise AssertionError("the run that was to be stopped was not")
    done = run(chosen, data_root=data, out=out, device="cpu")
    assert read_record(done.folder / RECORD) == done.record
    assert len(read_routes(done.folder / ROUTES).images) == len(done.record.images)
    assert len(read_curve(done.folder / CURVE)) == chosen.train.iterations
    other: BackendName = "torch" if setting.backend == "native" else "native"
    engine = InferenceEngine(done.model(), backend=other)
    for height, width in (setting.size, (setting.size[0] - seed % 7, setting.size[1] + seed % 5)):
        engine.labels(torch.rand(1, 3, height, width) * 255)
    return engine


class Leaks:
    """What a self-test keeps of every run, by name."""

    def __init__(self, chosen: list[str]) -> None:
        self.chosen = chosen
        self.kept: list[object] = []
        self.never = threading.Event()

    def after(self, engine: InferenceEngine) -> None:
        if "memory" in self.chosen:
            self.kept.append(bytearray(os.urandom(1 << 16)))
        if "engine" in self.chosen:
            self.kept.append(engine)
        if "file" in self.chosen:
            self.kept.append(Path(__file__).open())  # noqa: SIM115 (a leak is wanted)
        if "thread" in self.chosen:
            threading.Thread(target=self.never.wait, daemon=True).start()


LEAKS = ("memory", "engine", "file", "thread")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _MallInfo(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # as in malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


def heap_bytes() -> int:
    """What is allocated from glibc, in all its arenas, without what it keeps free."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _MallInfo
    told = mallinfo()
    return int(told.uordblks + told.hblkhd)


def tensor_bytes() -> int:
    """Of the storages of all tensors that Python can reach."""
    found = {}
    for one in gc.get_objects():
        if issubclass(type(one), torch.Tensor):
            storage = one.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def arena_bytes() -> int:
    """Of all compiled networks that live."""
    return sum(one.arena_bytes for one in gc.get_objects() if type(one) is NativeNetwork)


# Name, unit, growth over the second half from which on it is a leak, and how it is counted. Files and threads: half of
# one. Tensors and arenas: less than the smallest of either. Python objects and heap waver a little. Resident memory is
# a figure only: it counts what glibc keeps free, and libraries' pages, which the system takes and gives as others run.
MEASURES: tuple[tuple[str, Unit, float | None, Callable[[], int]], ...] = (
    ("resident memory", "bytes", None, resident_bytes),
    ("allocated from glibc", "bytes", 256 << 10, heap_bytes),
    ("tensors", "bytes", 64, tensor_bytes),
    ("arenas of the compiled engine", "bytes", 4096, arena_bytes),
    ("Python's memory blocks", "count", 2000, sys.getallocatedblocks),
    ("open files", "count", 0.5, lambda: len(os.listdir("/proc/self/fd"))),
    ("threads", "count", 0.5, lambda: len(os.listdir("/proc/self/task"))),
)


def soak(runs: int, leaks: Leaks, scratch: Path) -> tuple[tuple[Series, ...], float]:
    """The series after `runs` runs, and the seconds these took."""
    values = [array("q") for _ in MEASURES]  # lists would make the Python objects that are counted
    data = {setting.size: find_data(setting.experiment(0).data, None) for setting in CYCLE}
    begin = time.perf_counter()
    for number in range(runs):
        setting, out = CYCLE[number % len(CYCLE)], scratch / f"run{number}"
        leaks.after(one_run(setting, number, data[setting.size], out))
        shutil.rmtree(out)
        gc.collect()
        for kept, (_, _, _, count) in zip(values, MEASURES, strict=True):
            kept.append(count())
        if (number + 1) % 50 == 0:
            shown = (values[0][-1] / 2**20, values[5][-1], values[6][-1], time.perf_counter() - begin)
            print("run {}: {:.1f} MB, {} files, {} threads, {:.0f} s".format(number + 1, *shown), file=sys.stderr)
    series = tuple(
        Series(name=name, unit=unit, limit=limit, values=tuple(kept))
        for kept, (name, unit, limit, _) in zip(values, MEASURES, strict=True)
    )
    return series, time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of soak.json and soak.svg")
    parser.add_argument(
        "--leak", choices=LEAKS, action="append", default=[], help="keep this of every run: a self-test"
    )
    given = parser.parse_args()
    if given.runs < fewest_runs(len(CYCLE)):
        parser.error(f"--runs {given.runs}: give at least {fewest_runs(len(CYCLE))}")
    out = given.out.resolve()
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"):
        print("this counts in /proc and asks glibc: Linux with glibc 2.33 or newer is needed.", file=sys.stderr)
        return 3
    torch.set_num_threads(1)  # runs as small as these gain nothing from more
    here, (revision, dirty) = Path.cwd(), commit()
    with tempfile.TemporaryDirectory(prefix="dynroute-soak-") as scratch:
        os.chdir(scratch)  # data are generated here
        try:
            series, seconds = soak(given.runs, Leaks(given.leak), Path(scratch))
        except BackendUnavailableError as error:
            print(error, file=sys.stderr)
            return 3
        finally:
            os.chdir(here)
    record = SoakRecord(
        schema=SOAK_SCHEMA,
        runs=given.runs,
        cycle=len(CYCLE),
        settings=tuple(map(str, CYCLE)),
        leaks=tuple(given.leak),
        seconds=seconds,
        device_name=device_name(torch.device("cpu")),
        threads=torch.get_num_threads(),
        versions=versions(),
        commit=revision,
        dirty=dirty,
        series=series,
    )
    write_soak(out / "soak.json", record)
    write_whole(out / "soak.svg", standalone(soak_figure(record)).encode())
    print("\n".join(soak_lines(record)))
    return 0 if record.flat else 1


if __name__ == "__main__":
    outlast_terminal()
    sys.exit(main())
