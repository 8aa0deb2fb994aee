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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import msgspec

from dynroute_core.marks import augmentation, forced_route, given_weights
from dynroute_core.runtime import BlockedError, SourceFacts, write_whole

SCHEMA = 1
RECORD, ROUTES, CURVE, EXAMPLES = "record.json", "routes.json", "curve.csv", "examples"
PLAN, CHECKPOINT = "plan.json", "checkpoint.safetensors"  # of runs at work; never published
MAX_FILE_MB = 256

T = TypeVar("T")


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


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How training ended. final_loss, final_expected_macs: means over the last tenth, None where nothing was trained
    (iterations 0: given weights were evaluated). resumed_at: iterations where training was taken up again."""

    iterations: int
    final_loss: float | None
    final_expected_macs: float | None
    resumed_at: tuple[int, ...]
    parameters: int


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
        """What sets the evaluation apart from the row's own, in words: given weights, forced route, augmentation."""
        return tuple(mark for find in (given_weights, forced_route, augmentation) if (mark := find(self.config)))


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


def parse(kind: type[T], raw: bytes, path: Path | str) -> T:
    """JSON bytes as a dataclass: types, required and unknown fields are checked.

    Raises BlockedError naming file and field.
    """
    try:
        data = msgspec.json.decode(raw)
        value = msgspec.convert(data, kind)
        unknown = _unknown_fields(data, msgspec.to_builtins(value), "$")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BlockedError(
            f"{path} is not a readable {kind.__name__.lower()}: {error}. Delete it and run the row again."
        ) from error
    if unknown:
        raise BlockedError(f"{path} has unknown fields ({', '.join(unknown[:5])}): was it written by another version?")
    return value


def _unknown_fields(given: object, known: object, where: str) -> list[str]:
    if isinstance(given, dict) and isinstance(known, dict):
        found = [f"{where}.{key}" for key in given if key not in known]
        return found + [
            u for key in given if key in known for u in _unknown_fields(given[key], known[key], f"{where}.{key}")
        ]
    if isinstance(given, list) and isinstance(known, list | tuple):
        return [u for a, b in zip(given, known, strict=False) for u in _unknown_fields(a, b, f"{where}[]")]
    return []


def to_json(value: object) -> bytes:
    """A dataclass as JSON, keys in declaration order, ending in a newline. Raises ValueError for NaN and infinities."""
    plain = msgspec.to_builtins(value)
    _refuse_non_finite(plain, "$")
    return msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n"


def _refuse_non_finite(value: object, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}: records hold finite numbers only.")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{where}.{key}")
    if isinstance(value, list | tuple):
        for item in value:
            _refuse_non_finite(item, f"{where}[]")


def read_file(path: Path) -> bytes:
    """A small file's bytes; raises BlockedError where it is missing, unreadable or absurdly large."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_MB * 2**20:
            raise BlockedError(f"{path} has {size >> 20} MB; a file of a run has at most {MAX_FILE_MB} MB.")
        return path.read_bytes()
    except OSError as error:
        raise BlockedError(f"cannot read {path}: {error.strerror or error}. Run the row first.") from error


def read_record(path: Path) -> Record:
    """The record in a file, checked. Raises BlockedError naming file and reason."""
    record = parse(Record, read_file(path), path)
    try:
        problems = _problems(record)
    except OverflowError as error:  # JSON knows integers that no float can hold
        problems = [str(error)]
    if problems:
        raise BlockedError(f"{path} cannot be true: {'; '.join(problems[:3])}. Delete it and run the row again.")
    return record


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
    if len(record.images) != record.data.val_images:
        found.append(f"{len(record.images)} images listed, {record.data.val_images} evaluated")
    return found


def write_record(path: Path, record: Record) -> None:
    """Writes a record whole or not at all, after checking it as `read_record` does."""
    problems = _problems(record)
    if problems:
        raise ValueError(f"refusing to write a record that cannot be true: {'; '.join(problems)}")
    write_whole(path, to_json(record))


def read_routes(path: Path) -> Routes:
    """The routes in a file; raises BlockedError naming file and reason."""
    routes = parse(Routes, read_file(path), path)
    if routes.schema != SCHEMA:
        raise BlockedError(f"{path} has schema {routes.schema}, this version reads {SCHEMA}. Run the row again.")
    for image in routes.images:
        if (
            len(image.states) != len(routes.cells)
            or len(image.factors) != len(routes.paths)
            or set(image.states) - set("ocd")
        ):
            raise BlockedError(
                f"{path}: image {image.name!r} does not fit the {len(routes.cells)} cells of its network."
            )
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
    points = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            iteration, *rest = (float(value) for value in line)
            if len(line) != len(names):
                raise ValueError(f"{len(line)} values, {len(names)} expected")
            points.append(CurvePoint(iteration=int(iteration), **dict(zip(names[1:], rest, strict=True))))
        except (ValueError, OverflowError) as error:
            raise BlockedError(f"{path}, line {number}: {error}.") from error
    return points


def example_names(record: Record) -> dict[str, str]:
    """The three images kept under `examples/ROLE/{image,truth,prediction}.png`: role → image name.

    By paper cost: cheapest, median, dearest (ties by name; fewer roles where there are fewer images).
    """
    ordered = [image.name for image in sorted(record.images, key=lambda image: (image.paper_macs, image.name))]
    if len(ordered) < 3:
        return dict(zip(("cheapest", "dearest"), ordered, strict=False))
    return {"cheapest": ordered[0], "median": ordered[len(ordered) // 2], "dearest": ordered[-1]}
