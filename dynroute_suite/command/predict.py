"""`reproduce.py --predict`: segments pictures of anyone's own.

Leaves for every picture `labels/NAME.png` (train ids, in the classes' colours), `overlays/NAME.jpg` and
`routes/NAME.svg`, and one `predictions.csv`. Pictures that cannot be read are told at the end; the others are done.
"""

from __future__ import annotations

import csv
import io
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from dynroute_core.checkpoint import Weights
from dynroute_core.data.dataset import DataError, read_picture
from dynroute_core.data.labels import ClassSet, colorize
from dynroute_core.engine.inference import InferenceEngine
from dynroute_core.evaluate import ImageResult, Network
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.runs.finished import FinishedRun, TrainedSegmenter
from dynroute_core.runs.prediction import PredictedPicture, predict
from dynroute_core.runs.progress import RunProgress
from dynroute_core.runs.record import RECORD
from dynroute_core.runs.recording import label_picture, make_routes
from dynroute_core.runs.shipped import find_shipped
from dynroute_core.system.errors import EXIT_DONE, EXIT_FAILED, BlockedError, UsageError
from dynroute_core.system.files import write_whole
from dynroute_core.system.machine import pick_device
from dynroute_suite.command.given_weights import fit_weights
from dynroute_suite.command.options import SHIPPED, data_of, expanded, profile_of, settings_of, weights_setting
from dynroute_suite.command.pictures import (
    COLUMNS,
    LABELS,
    OVERLAYS,
    ROUTES,
    TABLE,
    Picture,
    appearing,
    find_pictures,
    out_folder,
)
from dynroute_suite.figures.diagram import route_diagram
from dynroute_suite.figures.style import standalone
from dynroute_suite.notebook.progress import Display
from dynroute_suite.report.numbers import macs_text

DEFAULT_ROW = "dynamic-c"
OVERLAY_SHARE = 0.5  # of the classes' colours
JPEG_QUALITY = 90


@dataclass(frozen=True, kw_only=True)
class PictureResult:
    """What became of one picture. state: done, or unreadable (message: why). name: of its files in `folder`.

    shown: the size, in pixels, at which the network saw it. macs: in the paper's accounting, at that size padded to
    multiples of 32. milliseconds: of the network and of resizing for it, without reading and writing. route: the same
    digits for the same open paths. shares: of the picture's pixels, 0..1, by class.
    """

    file: str
    state: str = "done"
    message: str = ""
    folder: str = ""
    name: str = ""
    height: int | None = None
    width: int | None = None
    shown_height: int | None = None
    shown_width: int | None = None
    macs: float | None = None
    milliseconds: float | None = None
    route: str = ""
    shares: dict[str, float] = field(default_factory=dict)


def predict_pictures(arguments: Namespace) -> tuple[list[PictureResult], int]:
    """Segments the pictures that the command names; gives what became of each, and the exit code.

    Raises UsageError and BlockedError before any work for words, weights and folders that will not do, and BlockedError
    where the disk is full; nothing is left then.
    """
    pictures, folder = find_pictures(arguments.predict), out_folder(arguments)
    model = network_of(arguments).to(pick_device(arguments.device))
    engine = InferenceEngine(model)
    with appearing(folder) as place:
        results = [_segmented(picture, place, model, engine) for picture in _with_bar(pictures)]
        done = [result for result in results if result.state == "done"]
        if done:
            write_whole(place / TABLE, table_csv(done, model.classes))
    print(words(results, folder), file=sys.stderr if arguments.json else sys.stdout)
    code = EXIT_DONE if len(done) == len(results) else EXIT_FAILED
    return [replace(result, folder=str(folder)) if result.name else result for result in results], code


def network_of(arguments: Namespace) -> TrainedSegmenter:
    """The network that the command names, in evaluation, on the CPU: of the weights that ship, of a run whose record
    lies beside the file, or of the row and the settings that are given with the file.

    Raises UsageError and BlockedError for what is not there or does not fit.
    """
    row = arguments.row[0] if arguments.row else ""
    if arguments.weights in ("", SHIPPED):
        return find_shipped(row or DEFAULT_ROW).model()
    if row:
        settings = settings_of(arguments) | weights_setting(arguments)
        chosen = experiment(row, profile=profile_of(arguments), data=data_of(arguments)[0])
        chosen = with_settings(chosen, settings)
    else:
        file = expanded(arguments.weights).resolve()
        if not file.is_file():
            raise BlockedError(f"cannot read {file}: there is no such file. Check the path of the weights.")
        if not (file.parent / RECORD).is_file():
            raise UsageError(
                f"{file} has no {RECORD} beside it to say what network it is of: give --row with it, and --profile, "
                "--data and --set where they were not the published ones."
            )
        chosen = replace(FinishedRun.open(file.parent).experiment, weights=Weights(file=str(file)))
    model, _ = fit_weights(chosen)
    model.eval()
    return model


def _with_bar(pictures: Sequence[Picture]) -> Iterator[Picture]:
    """The pictures, a bar or lines on standard error telling how far they are."""
    display = Display()
    try:
        for done, picture in enumerate(pictures):
            display.show(RunProgress("predict", done, len(pictures), picture.name))
            yield picture
        display.show(RunProgress("predict", len(pictures), len(pictures), ""))
    finally:
        display.close()


def _segmented(picture: Picture, place: Path, model: TrainedSegmenter, engine: Network) -> PictureResult:
    """One picture, its files written below `place`; or why it could not be read."""
    try:
        photograph = read_picture(picture.path, upright=True)
        begin = time.perf_counter()
        said = predict(model, np.asarray(photograph), engine=engine)
        milliseconds = 1000 * (time.perf_counter() - begin)
    except (DataError, UsageError) as error:  # of the file, and of its size
        why = str(error).encode(errors="backslashreplace").decode()
        return PictureResult(file=picture.shown, state="unreadable", message=why)
    _write(picture.name, place, photograph, said, model)
    classes = model.classes.names
    counts = np.bincount(said.labels.ravel(), minlength=len(classes))
    return PictureResult(
        file=picture.shown,
        name=picture.name,
        height=photograph.height,
        width=photograph.width,
        shown_height=said.shown[0],
        shown_width=said.shown[1],
        macs=said.macs,
        milliseconds=milliseconds,
        route=said.route_id,
        shares={name: int(count) / said.labels.size for name, count in zip(classes, counts, strict=True)},
    )


def _write(name: str, place: Path, photograph: Image.Image, said: PredictedPicture, model: TrainedSegmenter) -> None:
    """A picture's labels, overlay and route."""
    coloured = Image.fromarray(colorize(said.labels, model.classes))
    overlay = Image.blend(photograph, coloured, OVERLAY_SHARE)
    uncounted = np.zeros((len(model.classes),) * 2, np.int64)
    routes = make_routes(model.experiment.row, "", model.space, [ImageResult(name, uncounted, said.taken)])
    height, width = said.counted
    route = route_diagram(routes, name, config=model.config, height=height, width=width)
    for path, content in (
        (place / LABELS / f"{name}.png", _encoded(label_picture(said.labels, model.classes), "PNG")),
        (place / OVERLAYS / f"{name}.jpg", _encoded(overlay, "JPEG")),
        (place / ROUTES / f"{name}.svg", standalone(route).encode()),
    ):
        write_whole(path, content, settle=False)


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, quality=JPEG_QUALITY)
    return buffer.getvalue()


def table_csv(results: Sequence[PictureResult], classes: ClassSet) -> bytes:
    """`predictions.csv`: a header, then a line per picture; the classes' columns begin with `share_`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"share_{name}" for name in classes.names)])
    for result in results:
        shown = replace(result, milliseconds=round(result.milliseconds or 0.0, 3))
        shares = [f"{result.shares[name]:.6f}" for name in classes.names]
        writer.writerow([*(getattr(shown, column) for column in COLUMNS), *shares])
    return text.getvalue().encode()


def words(results: Sequence[PictureResult], folder: Path) -> str:
    """What is said at the end: where the predictions are, what they cost, and which pictures could not be read."""
    done = [result for result in results if result.state == "done"]
    lines = []
    if done:
        macs = statistics.fmean(result.macs or 0.0 for result in done)
        median = statistics.median(result.milliseconds or 0.0 for result in done)
        routes = len({result.route for result in done})
        lines = [
            f"{len(done)} picture{'s' if len(done) > 1 else ''}: {macs_text(macs)} (mean), {median:.0f} ms (median), "
            f"{routes} route{'s' if routes > 1 else ''}",
            f"  {folder / TABLE}, and beside it {LABELS}, {OVERLAYS}, {ROUTES}",
        ]
    if failed := [result.message for result in results if result.state != "done"]:
        lines += [f"{len(failed)} of {len(results)} could not be read:", *(f"  {message}" for message in failed)]
    return "\n".join(lines)
