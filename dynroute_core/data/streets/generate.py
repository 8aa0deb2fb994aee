"""Generated street scenes: the data set that ships as code and needs no download.

`render_scene` makes one scene, `generate_streets` writes a set of them in Cityscapes' layout. A seed gives the
same bytes on every machine, with OpenCV 4.11 or newer (4.10 fills some polygons differently). PNG files hold
stored (uncompressed) deflate blocks, because compressors differ between machines: a 256×512 scene takes about
0.95 MB on disk, a 1024×2048 one about 15 MB. Leaves out reading the set back: to a reader it is Cityscapes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
from tqdm import tqdm

from dynroute_core.data.labels import CITYSCAPES_LABELS
from dynroute_core.data.source import Scenes
from dynroute_core.data.streets.layout import VAL_OFFSET, Kind, Place, places
from dynroute_core.data.streets.png import encode_png
from dynroute_core.data.streets.scene import Scene, render
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.files import make_folder, read_regular, remove_stale, sync_folder, write_whole
from dynroute_core.system.locks import LOCK, locked
from dynroute_core.system.strict_json import decode_json

__all__ = ["GENERATOR_VERSION", "UNFINISHED", "Scene", "generate_streets", "render_scene"]

GENERATOR_VERSION = 1
"""Raised whenever a scene's pixels change, so that an old set is never mistaken for a new one."""

MIN_SIDE = 16
MANIFEST = "streets.json"
UNFINISHED = "streets.unfinished.json"
_PALETTE = [(0, 0, 0)] * 256
for _label in CITYSCAPES_LABELS:
    if 0 <= _label.label_id < 256:
        _PALETTE[_label.label_id] = _label.color

Job = tuple[str, Place, int, int, int]
"""root, place, seed, height, width."""


def _check_size(height: int, width: int) -> None:
    """Refuse what cannot be rendered, and the OpenCV releases that would render it differently."""
    if tuple(int(part) for part in cv2.__version__.split(".")[:2]) < (4, 11):
        raise RuntimeError(
            f"OpenCV {cv2.__version__} is installed; it fills polygons differently, so the street scenes would not "
            "be the same as elsewhere; install opencv-python >= 4.11, or opencv-python-headless"
        )
    if height < MIN_SIDE or width < MIN_SIDE:
        raise UsageError(
            f"height × width is {height}×{width}; both must be at least {MIN_SIDE} pixels; give a larger size"
        )


def render_scene(seed: int, index: int, *, height: int, width: int, kind: Kind = "ordinary") -> Scene:
    """Scene number `index` (>= 0) of the series `seed` (>= 0) and the kind.

    Returns image H×W×3 uint8 BGR, label_ids H×W uint8, instance_ids H×W uint16 (label id × 1000 + number for
    classes with instances, else the label id) and polygons. Raises UsageError for a negative seed or index or
    a side below 16 pixels, RuntimeError for an OpenCV older than 4.11.
    """
    _check_size(height, width)
    if seed < 0 or index < 0:
        raise UsageError(f"seed is {seed} and index {index}; neither may be negative; give numbers >= 0")
    return render(seed, index, height, width, kind)


def _files(root: Path, stem: str) -> dict[str, Path]:
    """The five files of a scene by kind, the image last: it is the one readers look for."""
    annotation, image = root / "gtFine" / stem, root / "leftImg8bit" / stem
    paths = {
        kind: annotation.with_name(f"{annotation.name}_gtFine_{kind}")
        for kind in ("labelIds.png", "instanceIds.png", "color.png", "polygons.json")
    }
    paths["leftImg8bit"] = image.with_name(f"{image.name}_leftImg8bit.png")
    return paths


def _contents(scene: Scene) -> dict[str, bytes]:
    height, width = scene.label_ids.shape
    objects = [{"label": label, "polygon": polygon} for label, polygon in scene.polygons]
    outline = {"imgHeight": height, "imgWidth": width, "objects": objects}
    return {
        "labelIds.png": encode_png(scene.label_ids),
        "instanceIds.png": encode_png(scene.instance_ids),
        "color.png": encode_png(scene.label_ids, _PALETTE),
        "polygons.json": json.dumps(outline, separators=(",", ":")).encode(),
        "leftImg8bit": encode_png(scene.image),
    }


def _make(job: Job) -> None:
    """Render one scene and write those of its files that are missing."""
    root, place, seed, height, width = job
    contents = _contents(render(seed, place.index, height, width, place.kind))
    for kind, path in _files(Path(root), place.stem).items():
        if not path.exists():
            write_whole(path, contents[kind], settle=False)


def _start_worker() -> None:
    """One thread a process; an interrupt is the parent's business, and no worker outlives a killed parent."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # else it would wait for another job for ever: its own end of the queue keeps the queue open


def _read_plan(path: Path) -> object:
    try:
        return decode_json(read_regular(path, most_mb=1))
    except FileNotFoundError:  # no set yet, which is not a broken one
        raise
    except (OSError, ValueError):
        return None


def _describe(plan: object) -> str:
    return json.dumps(plan, sort_keys=True) if plan is not None else "an unreadable manifest"


def _claim(root: Path, plan: dict[str, object]) -> None:
    """Make `root` ours, or raise UsageError if it holds something else."""
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file; the street scenes need a folder; give another path")
    make_folder(root, "Choose another folder.")
    for name in (MANIFEST, UNFINISHED):
        with suppress(FileNotFoundError):
            found = _read_plan(root / name)
            if found != plan:
                raise UsageError(
                    f"{root} holds another set of street scenes: {_describe(found)}; asked for: "
                    f"{_describe(plan)}; give an empty folder, or delete this one to make it anew"
                )
    present = {entry.name for entry in root.iterdir() if not entry.name.startswith(".")}
    owned = (root / MANIFEST).exists() or (root / UNFINISHED).exists()
    allowed = {"leftImg8bit", "gtFine", MANIFEST, UNFINISHED} if owned else set()
    foreign = sorted(present - allowed)
    if foreign:
        raise UsageError(
            f"{root} holds files that are not part of a set of street scenes: {', '.join(foreign[:5])}"
            f"{' …' if len(foreign) > 5 else ''}; give an empty or a new folder"
        )


def _run_jobs(jobs: list[Job], workers: int, progress: bool) -> None:
    every = 0.1 if sys.stderr.isatty() else 10.0
    with tqdm(total=len(jobs), desc="street scenes", unit="scene", disable=not progress, mininterval=every,
              file=sys.stderr) as bar:  # fmt: skip
        if workers == 1:
            threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
            try:
                for job in jobs:
                    _make(job)
                    bar.update()
            finally:
                cv2.setNumThreads(threads)
            return
        with _processes(workers) as pool:
            for future in as_completed(_submit(pool, jobs)):
                future.result()
                bar.update()


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    try:
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    except OSError as error:
        raise _lacking(error) from error
    try:
        yield pool
    finally:
        # after an interrupt or an error the queue is dropped; what is written stays and is resumed
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, jobs: list[Job]) -> list[Future[None]]:
    """Hands the jobs over, which starts the processes."""
    try:
        return [pool.submit(_make, job) for job in jobs]
    except OSError as error:
        raise _lacking(error) from error


def _lacking(error: OSError) -> BlockedError:
    return BlockedError(
        f"cannot start processes to draw street scenes: {error.strerror}. Open files (ulimit -n), shared memory "
        "(/dev/shm) or processes (ulimit -u) may be too few; on one core (taskset -c 0 ...) none is started."
    )


def _worker_count(workers: int | None, jobs: int, pixels: int) -> int:
    if workers is not None:
        return max(1, min(workers, jobs))
    cores = os.cpu_count() or 1
    with suppress(AttributeError):
        cores = len(os.sched_getaffinity(0))
    # starting a process takes seconds, as long as some 64 scenes of 256×512
    return max(1, min(cores, jobs, jobs * pixels // (64 * 256 * 512)))


def generate_streets(
    root: Path,
    *,
    train: int,
    val: int,
    height: int,
    width: int,
    seed: int,
    scenes: Scenes = "ordinary",
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a set of street scenes in Cityscapes' layout below `root` and return `root`.

    train, val: number of scenes of each split; height, width: pixels, at least 16; seed: >= 0; scenes:
    their kind, mixed for near and far ones in turn; workers: processes, None for as many as pay off, at most one per
    usable core (a script that starts several needs the usual `if __name__ == "__main__"` guard); progress: a bar on
    stderr. The bytes do not depend on `workers`.

    A complete set with the same parameters is left as it is; an interrupted one is completed, and one that another
    process is at work on is waited for. The manifest streets.json is written last. Raises UsageError for bad parameters
    and for a folder that holds another set or other files, BlockedError where the disk is full.
    """
    root = Path(root)
    _check_size(height, width)
    if min(train, val, seed) < 0 or max(train, val) > VAL_OFFSET:
        raise UsageError(
            f"train is {train}, val {val}, seed {seed}; counts must be 0 to {VAL_OFFSET}, the seed >= 0; "
            "correct the number"
        )
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1; give None for one per core")
    plan: dict[str, object] = {
        "generator": "streets", "version": GENERATOR_VERSION, "seed": seed, "height": height, "width": width,
        "train": train, "val": val,
    }  # fmt: skip
    if scenes != "ordinary":  # whose sets are older than the other kinds, and stay whole
        plan["scenes"] = scenes
    _claim(root, plan)
    wanted = list(places(scenes, train=train, val=val))
    if not _is_whole(root, wanted):
        with locked(root, wait=True):
            _complete(root, plan, wanted, workers, progress)
            (root / LOCK).unlink(missing_ok=True)  # whoever waits for it finds a complete set
    return root


def _is_whole(root: Path, wanted: list[Place]) -> bool:
    if not (root / MANIFEST).exists() or (root / UNFINISHED).exists():
        return False
    return all(path.exists() for place in wanted for path in _files(root, place.stem).values())


def _complete(root: Path, plan: dict[str, object], wanted: list[Place], workers: int | None, progress: bool) -> None:
    """Make what is missing: after waiting for another process, often nothing."""
    manifest, unfinished = root / MANIFEST, root / UNFINISHED
    seed, height, width = (int(str(plan[name])) for name in ("seed", "height", "width"))
    jobs: list[Job] = [
        (str(root), place, seed, height, width)
        for place in wanted
        if not all(path.exists() for path in _files(root, place.stem).values())
    ]
    text = (json.dumps(plan, indent=2) + "\n").encode()
    remove_stale(root)
    if jobs or not manifest.exists():
        if not manifest.exists():
            write_whole(unfinished, text)
        _run_jobs(jobs, _worker_count(workers, len(jobs), height * width), progress)
        for folder in sorted({path.parent for place in wanted for path in _files(root, place.stem).values()}):
            sync_folder(folder)  # before the manifest, which speaks for what is in them
        write_whole(manifest, text)
    unfinished.unlink(missing_ok=True)
