"""Record ⇄ JSON: what was run, where, with what, and what came out; and the routes and curve that lie beside it.

A run's folder holds `record.json` (written last: a folder without one is unfinished), `routes.json`, `curve.csv` and
`examples/`. Every number in the book is read from these files. `read_record` checks types, required and unknown fields
and the schema's version, and refuses numbers that cannot be (an mIoU of 101, a cost outside the row's bounds).
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from dynroute_core.runs.marks import augmentation, forced_route, from_scratch, given_weights, left_out
from dynroute_core.system.errors import BlockedError
from dynroute_core.system.files import read_file, write_whole
from dynroute_core.system.provenance import SourceFacts
from dynroute_core.system.strict_json import parse, read_checked, write_checked

SCHEMA = 1
RECORD, ROUTES, CURVE, EXAMPLES = "record.json", "routes.json", "curve.csv", "examples"
PLAN, CHECKPOINT = "plan.json", "checkpoint.safetensors"  # of runs at work; never published
WEIGHTS = "weights.safetensors"  # of runs whose weights ship
LARGEST_NOMINAL_SIDE = 1 << 15  # pixels
LONGEST_COUNT = 12  # digits

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # of rows, profiles and data sets: pages and folders are named so
_KEY = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?")  # what repr writes; float() reads much else


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The data set of a run. Fingerprints: sha256 over names and bytes of every image and label of the split."""

    name: str
    train_fingerprint: str
    val_fingerprint: str
    train_images: int
    val_images: int
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """Where a run took place. device: cpu or cuda:N. threads: of each process. backend: what evaluated:
    `InferenceEngine.describe`, or "model". processes: how many trained together; several numbers where an interrupted
    run went on with another one, which changes roundings."""

    device: str
    device_name: str
    threads: int
    backend: str
    versions: dict[str, str]
    processes: tuple[int, ...] = (1,)


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Seconds of work, sums over interrupted attempts."""

    train_s: float
    precise_bn_s: float
    evaluate_s: float

    @property
    def minutes(self) -> float:
        """Of all work together."""
        return (self.train_s + self.precise_bn_s + self.evaluate_s) / 60


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How training ended. final_loss, final_expected_macs: means over the last tenth, None where nothing was trained
    (iterations 0: given weights). resumed_at: where it was taken up again. skipped: non-finite batches left out. step:
    who computed it, "eager" or "compiled"; null in records older than the choice. class_weights: of the loss, in the
    data set's order; null where all weigh 1."""

    iterations: int
    final_loss: float | None
    final_expected_macs: float | None
    resumed_at: tuple[int, ...]
    parameters: int
    skipped: int = 0
    step: str | None = None
    class_weights: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """From one confusion matrix over the evaluated split. Percent; None: the class is in no label or prediction."""

    miou_percent: float
    frequency_weighted_iou_percent: float
    mean_accuracy_percent: float
    pixel_accuracy_percent: float
    class_iou_percent: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class CostRange:
    """MACs over the evaluated images, with what the row's network can cost at least and at most."""

    mean_macs: float
    min_macs: float
    max_macs: float
    all_closed_macs: int
    all_open_macs: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs at one nominal input size, in both accountings; `expected` has no gates, stem and head."""

    nominal_height: int
    nominal_width: int
    paper: CostRange
    repo: CostRange
    expected: CostRange


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """One evaluated image."""

    name: str
    paper_macs: float
    repo_macs: float
    expected_macs: float
    miou_percent: float
    pixel_accuracy_percent: float


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished run of one row. config: the whole `Experiment` as JSON. key: see `pipeline.run_key`."""

    schema: int
    row: str
    profile: str
    seed: int
    key: str
    started: str
    config: dict[str, object]
    data: DataFacts
    source: SourceFacts
    machine: MachineFacts
    durations: Durations
    training: TrainingFacts
    metrics: Metrics
    costs: Costs
    images: tuple[ImageFacts, ...]

    @property
    def label(self) -> str:
        """How tables and figures name the run, so that no demo number passes for a published one."""
        parts = (f"{self.profile} profile", self.data.name, f"seed {self.seed}", *self.marks)
        return f"{self.row} ({', '.join(parts)})"

    @property
    def marks(self) -> tuple[str, ...]:
        """What sets the run apart from the row's own, in words."""
        found = [find(self.config) for find in (from_scratch, given_weights, forced_route, augmentation)]
        return tuple(mark for mark in (*found, left_out(self.training.skipped)) if mark)


@dataclass(frozen=True, kw_only=True)
class ImageRoute:
    """One image's route. states: a letter per cell (o open, c closed, d dead), in the order of `Routes.cells`.
    factors: per path, in the order of `Routes.paths`. true_positive, false_positive, false_negative: pixels per class,
    for resampling."""

    name: str
    states: str
    factors: tuple[float, ...]
    true_positive: tuple[int, ...]
    false_positive: tuple[int, ...]
    false_negative: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Routes:
    """The routes of every evaluated image. cells: `init`, `0.0`, ...; paths: `CELL>PATH`, such as `3.2>up`."""

    schema: int
    row: str
    key: str
    layers: int
    channels: int
    cells: tuple[str, ...]
    paths: tuple[str, ...]
    images: tuple[ImageRoute, ...]


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A point of the training curve: means over the iterations since the last one (lr: the last; miou: since the start
    of the curve's current tenth, on training crops)."""

    iteration: int
    loss: float
    segmentation_loss: float
    budget_loss: float
    lr: float
    expected_macs: float
    train_miou_percent: float
    seconds: float


def read_record(path: Path) -> Record:
    """The record in a file, checked. Raises BlockedError naming file and reason."""
    return read_checked(Record, path, _problems, again="Delete it and run the row again.")


def _problems(record: Record) -> list[str]:
    found = []
    if record.schema != SCHEMA:
        found.append(f"schema {record.schema}, this version reads {SCHEMA}")
    percents = {
        field.name: getattr(record.metrics, field.name) for field in fields(Metrics) if "class" not in field.name
    }
    percents |= {f"IoU of {name}": value for name, value in record.metrics.class_iou_percent.items()}
    percents |= {f"mIoU of {image.name}": image.miou_percent for image in record.images}
    percents |= {f"accuracy of {image.name}": image.pixel_accuracy_percent for image in record.images}
    found += [f"{name} is {value}" for name, value in percents.items() if value is not None and not 0 <= value <= 100]
    for name in ("paper", "repo", "expected"):
        cost: CostRange = getattr(record.costs, name)
        ordered = (0, cost.all_closed_macs, cost.min_macs, cost.mean_macs, cost.max_macs, cost.all_open_macs)
        slack = 1e-5 * cost.all_open_macs  # sums of float32 products
        if any(low > high + slack for low, high in itertools.pairwise(ordered)):
            found.append(f"{name} costs are out of order: {ordered}")
        for image in record.images:
            if not cost.min_macs - slack <= (macs := getattr(image, f"{name}_macs")) <= cost.max_macs + slack:
                found.append(f"{name} cost of {image.name} is {macs}")
    if not 0 <= record.training.skipped <= record.training.iterations:
        found.append(f"{record.training.skipped} of {record.training.iterations} batches left out")
    if len(record.images) != record.data.val_images:
        found.append(f"{len(record.images)} images listed, {record.data.val_images} evaluated")
    return found + _names_and_counts(record)


def _names_and_counts(record: Record) -> list[str]:
    """What is wrong with names, of which addresses and folders are made, and with whole numbers."""
    names = {"row": record.row, "profile": record.profile, "data": record.data.name}
    found = [f"{what} is {name[:60]!r}" for what, name in names.items() if not _NAME.fullmatch(name)]
    if not _KEY.fullmatch(record.key):
        found.append(f"key is {record.key[:60]!r}")
    found += [f"two images are {name!r}" for name in _twins(image.name for image in record.images)]
    if record.data.class_names != tuple(record.metrics.class_iou_percent):
        found.append("its classes are not those that have an IoU")
    sides = record.costs.nominal_height, record.costs.nominal_width
    if not 1 <= min(sides) <= max(sides) <= LARGEST_NOMINAL_SIDE:
        found.append(f"costs are counted at {sides[0]}×{sides[1]}")
    spent, facts = record.durations, record.training
    counts = (record.seed, record.data.train_images, record.machine.threads, facts.iterations, facts.parameters)
    if min(*counts, *facts.resumed_at, spent.train_s, spent.precise_bn_s, spent.evaluate_s) < 0:
        found.append("a count or a duration is negative")
    return found


def _twins(names: Iterable[str]) -> list[str]:
    """The names that come more than once."""
    ordered = sorted(names)
    return sorted({a for a, b in itertools.pairwise(ordered) if a == b})


def write_record(path: Path, record: Record) -> None:
    """Writes a record whole or not at all, after checking it as `read_record` does."""
    write_checked(path, record, _problems, what="a record")


def read_routes(path: Path) -> Routes:
    """The routes in a file; raises BlockedError naming file and reason."""
    routes = parse(Routes, read_file(path), path)
    if routes.schema != SCHEMA:
        raise BlockedError(f"{path} has schema {routes.schema}, this version reads {SCHEMA}. Run the row again.")
    if twins := [*_twins(image.name for image in routes.images), *_twins(routes.cells), *_twins(routes.paths)]:
        raise BlockedError(f"{path} names {twins[0]!r} twice. Run the row again.")
    classes = len(routes.images[0].true_positive) if routes.images else 0
    for image in routes.images:
        if (
            len(image.states) != len(routes.cells)
            or len(image.factors) != len(routes.paths)
            or set(image.states) - set("ocd")
        ):
            raise BlockedError(
                f"{path}: image {image.name!r} does not fit the {len(routes.cells)} cells of its network."
            )
        pixels = (image.true_positive, image.false_positive, image.false_negative)
        if any(len(counts) != classes or min(counts, default=0) < 0 for counts in pixels):
            raise BlockedError(f"{path}: pixels of image {image.name!r} are negative, or of another number of classes.")
        if not all(0 <= factor <= 1 + 1e-5 for factor in image.factors):  # 1 in float32, and rounded to six digits
            raise BlockedError(f"{path}: image {image.name!r} has a factor that is not from 0 to 1.")
    return routes


def write_curve(path: Path, points: list[CurvePoint]) -> None:
    """Writes `curve.csv`: a header of `CurvePoint`'s fields, then a line per point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(CurvePoint)]
    writer.writerow(names)
    writer.writerows([repr(getattr(point, name)) for name in names] for point in points)
    write_whole(path, text.getvalue().encode())


def read_curve(path: Path) -> list[CurvePoint]:
    """The points of a `curve.csv`; raises BlockedError naming file and line."""
    text = read_file(path).decode("utf-8", errors="replace")
    try:
        lines = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise BlockedError(f"{path} is no training curve: {error}.") from error
    names = [field.name for field in fields(CurvePoint)]
    if not lines or lines[0] != names:
        raise BlockedError(f"{path} does not begin with {','.join(names)}: it is no training curve.")
    points: list[CurvePoint] = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            point = _point(line, names)
            if points and point.iteration <= points[-1].iteration:
                raise ValueError(f"iteration {point.iteration} follows {points[-1].iteration}")
        except ValueError as error:
            raise BlockedError(f"{path}, line {number}: {error}.") from error
        points.append(point)
    return points


def _point(line: list[str], names: list[str]) -> CurvePoint:
    if len(line) != len(names):
        raise ValueError(f"{len(line)} values, {len(names)} expected")
    for text in line:
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise ValueError(f"could not convert string to a finite float: {text[:60]!r}")
    iteration, *rest = line
    if not iteration.isdecimal() or len(iteration) > LONGEST_COUNT:
        raise ValueError(f"iteration is {iteration[:60]}")
    return CurvePoint(iteration=int(iteration), **dict(zip(names[1:], map(float, rest), strict=True)))


def example_names(record: Record) -> dict[str, str]:
    """The three images kept under `examples/ROLE/{image,truth,prediction}.png`: role → image name.

    By paper cost: cheapest, median, dearest (ties by name; fewer roles where there are fewer images).
    """
    ordered = [image.name for image in sorted(record.images, key=lambda image: (image.paper_macs, image.name))]
    if len(ordered) < 3:
        return dict(zip(("cheapest", "dearest"), ordered, strict=False))
    return {"cheapest": ordered[0], "median": ordered[len(ordered) // 2], "dearest": ordered[-1]}
