"""Common networks: the paths that a trained dynamic network opens in most images, as a fixed network of their own.

Takes an experiment whose `common` names a row, and the folder of all runs; gives the experiment with `model.paths`
filled in from that row's finished run, and its weights where training starts from them. The images are those of the
*training* split, shown as in evaluation, so that validation images play no part in choosing the network. A path counts
where its cell is open and its factor above the threshold. What a closed cell passes on unchanged is no open path, and
counts only where `common.passed_on` asks for it: a fixed network cannot pass a cell by, so its cell would run.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from dynroute_core.cell import OPEN
from dynroute_core.evaluate import EvaluateConfig, LabelledImage, as_input
from dynroute_core.experiments import ROWS, CommonNetwork, Experiment, experiment, with_settings
from dynroute_core.model import Segmenter
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.folders import run_folder
from dynroute_core.runs.record import RECORD
from dynroute_core.space import OPEN_THRESHOLD, PathKey, RoutingSpace, path_name
from dynroute_core.static_routes import common_route
from dynroute_core.system.errors import BlockedError, UsageError, suggest
from dynroute_core.system.files import write_whole
from dynroute_core.system.strict_json import read_checked, to_json

OPEN_PATHS = "open_paths.json"


@dataclass(frozen=True, kw_only=True)
class OpenPaths:
    """In how many of its training images a run opens each path, and in how many its closed cell passes its input along
    it. key: the run's; opened, passed_on: by `CELL>PATH`, every path of its space."""

    row: str
    key: str
    train_fingerprint: str
    images: int
    opened: dict[str, int]
    passed_on: dict[str, int]


def own_settings(chosen: Experiment) -> dict[str, str]:
    """What sets an experiment apart from its row at this profile, data set and seed, as `with_settings` takes it."""
    recipe = chosen.train.recipe
    own = experiment(chosen.row, profile=chosen.profile, data=chosen.data.name, seed=chosen.seed, recipe=recipe)
    ours, rows = asdict(chosen), asdict(own)
    return {
        f"{part}.{name}": msgspec.json.encode(value).decode()
        for part in ("data", "model", "train", "evaluate")
        for name, value in ours[part].items()
        if value != rows[part][name]
    }


def source_of(chosen: Experiment) -> Experiment:
    """The experiment that a common network is taken from: its source row, with everything else alike.

    Raises UsageError for a source that is no row or has no gates, and where model.paths are set already.
    """
    common = _common(chosen)
    if common.source not in ROWS:
        raise suggest("row", common.source, ROWS)
    if ROWS[common.source].model.gate == "none":
        raise UsageError(
            f"common.source={common.source} has no gates: choose a row whose network opens and closes paths."
        )
    if chosen.model.paths:
        raise UsageError("model.paths of a common network come from the run it is taken from: leave them out.")
    recipe = chosen.train.recipe
    own = experiment(common.source, profile=chosen.profile, data=chosen.data.name, seed=chosen.seed, recipe=recipe)
    unforced = replace(chosen, evaluate=replace(chosen.evaluate, route=None))  # its paths are the gates' own choice
    return with_settings(own, own_settings(unforced))


def find_source(chosen: Experiment, source: Experiment, key: str, out: Path) -> Experiment:
    """The common network's experiment with the whole key of the finished run it is taken from.

    That is the run of `source` with this key; another where `common.source_key` begins another's key. Raises
    BlockedError where it is not there, with the command that makes it.
    """
    common = _common(chosen)
    given = common.source_key
    if not given:
        if FinishedRun.find(out / run_folder(source, key), key) is None:
            raise BlockedError(_run_first(chosen, source, out))
        return replace(chosen, common=replace(common, source_key=key))
    for path in sorted(out.glob(f"{run_folder(source, given)}*/{RECORD}")):
        if (found := FinishedRun.open(path.parent).record.key).startswith(given):
            return replace(chosen, common=replace(common, source_key=found))
    raise BlockedError(f"common.source_key={given}: {out} has no finished run of {source.row} with such a key.")


def _run_first(chosen: Experiment, source: Experiment, out: Path) -> str:
    words = ["--row", source.row, "--profile", source.profile, "--data", source.data.name]
    words += ["--seed", str(source.seed)] if source.seed else []
    changes = [f"{name}={text}" for name, text in own_settings(source).items() if name != "train.budget_macs"]
    words += ["--set", *changes] if changes else []
    return (
        f"{chosen.row} consists of the paths that a finished run of {source.row} opens, and {out} has none with the "
        f"same settings, data and sources. First run `python reproduce.py {shlex.join(words)}` (data folder and --out "
        "as here), or name another run by the end of its folder's name: --set common.source_key=KEY."
    )


def common_network(
    chosen: Experiment,
    images: Iterable[LabelledImage],
    fingerprint: str,
    folder: Path,
    device: torch.device,
    *,
    each: Callable[[int], None],
) -> Experiment:
    """The experiment with its paths, as they are open over `images`, whose fingerprint is given.

    folder: of its own run, beside which the run lies that `find_source` found; an earlier attempt's counts are kept
    there, and nothing is run again. each: called after every image with how many were seen. Raises BlockedError where
    the found run's files are missing or broken, UsageError where no way to the head is open in enough images.
    """
    path, key = folder / OPEN_PATHS, _common(chosen).source_key
    counts = read_open_paths(path) if path.exists() else None
    if counts is None or (counts.key, counts.train_fingerprint) != (key, fingerprint):
        counts = open_paths(_source(chosen, folder.parent.parent), images, fingerprint, device, each)
        write_whole(path, to_json(counts))
    return with_common_paths(chosen, counts)


def read_open_paths(path: Path) -> OpenPaths:
    """The counts in a file. Raises BlockedError naming file and reason."""
    return read_checked(OpenPaths, path, _problems, again="Delete it.")


def _problems(found: OpenPaths) -> list[str]:
    names = found.opened.keys() | found.passed_on.keys()
    together = [found.opened.get(name, 0) + found.passed_on.get(name, 0) for name in names]
    counts = [*found.opened.values(), *found.passed_on.values()]
    wrong = found.images < 1 or min(counts, default=0) < 0 or max(together, default=0) > found.images
    return ["a path is open in more or less than its images"] if wrong else []


def start_weights(model: Segmenter, chosen: Experiment, out: Path) -> None:
    """Gives a common network the weights and statistics that its source ended with. Raises as `copy_weights`."""
    copy_weights(model, _source(chosen, out))


def _source(chosen: Experiment, out: Path) -> FinishedRun:
    common = _common(chosen)
    return FinishedRun.open(out / run_folder(replace(chosen, row=common.source), common.source_key), common.source_key)


def open_paths(
    run: FinishedRun,
    images: Iterable[LabelledImage],
    fingerprint: str,
    device: torch.device,
    each: Callable[[int], None],
) -> OpenPaths:
    """The counts of a finished run over these images. Raises BlockedError where its files are missing or broken."""
    seen, opened, passed_on = count_open(run.model().to(device), images, run.experiment.evaluate, device, each)
    return OpenPaths(
        row=run.record.row,
        key=run.record.key,
        train_fingerprint=fingerprint,
        images=seen,
        opened=opened,
        passed_on=passed_on,
    )


@torch.inference_mode()
def count_open(
    model: Segmenter,
    samples: Iterable[LabelledImage],
    config: EvaluateConfig,
    device: torch.device,
    each: Callable[[int], None],
) -> tuple[int, dict[str, int], dict[str, int]]:
    """(how many images there are, in how many each path is open, in how many it carries a closed cell's input on)."""
    space, seen = model.space, 0
    nothing = torch.zeros(len(space.all_paths), dtype=torch.int64, device=device)
    opened, passed_on = nothing.clone(), nothing.clone()
    for sample in samples:
        gates = model(as_input(sample, config, device)).gates
        sent = torch.cat([gates[cell].factors[0] > OPEN_THRESHOLD for cell in space.cells])
        is_open = torch.cat([(gates[cell].state == OPEN).expand(len(space.paths(cell))) for cell in space.cells])
        opened += sent & is_open
        passed_on += sent & ~is_open
        seen += 1
        each(seen)
    names = [path_name(path) for path in space.all_paths]
    by_name = [dict(zip(names, counts.tolist(), strict=True)) for counts in (opened, passed_on)]
    return seen, by_name[0], by_name[1]


def with_common_paths(chosen: Experiment, counts: OpenPaths) -> Experiment:
    """The experiment with the paths of its common network.

    Raises UsageError where no way from the initial cell to the head is open in enough images.
    """
    common, space = _common(chosen), RoutingSpace.of(chosen.model)
    names = {path_name(path): path for path in space.all_paths}
    if not set(counts.opened) == set(counts.passed_on) == set(names) or counts.images < 1:
        raise BlockedError(f"the open paths of {counts.row} are those of another network. Delete {OPEN_PATHS}.")
    passed_on = counts.passed_on if common.passed_on else dict.fromkeys(names, 0)
    shares: dict[PathKey, float] = {
        path: (counts.opened[name] + passed_on[name]) / counts.images for name, path in names.items()
    }
    route = common_route(space, shares, common.share)
    if not route:
        raise UsageError(
            f"no way from the initial cell to the head is open in more than {common.share:g} of {counts.row}'s "
            f"{counts.images} images: nothing is left to train. Set a smaller common.share, or count what closed cells "
            "pass on (common.passed_on=true), or choose another run."
        )
    paths = tuple(path_name(path) for path in space.all_paths if path in route)
    return replace(chosen, model=replace(chosen.model, paths=paths))


def copy_weights(model: Segmenter, run: FinishedRun) -> None:
    """Copies a finished run's weights and statistics into `model`, by name: what the model lacks, as a fixed network
    lacks gates and cells, is left out.

    Raises BlockedError where the model has what the run lacks.
    """
    tensors = run.weights()
    own: dict[str, Tensor] = model.state_dict()
    missing = [
        name for name, tensor in own.items() if (there := tensors.get(name)) is None or there.shape != tensor.shape
    ]
    if missing:
        raise BlockedError(
            f"{run.folder} lacks {len(missing)} of the network's tensors, {missing[0]} first: it is of another."
        )
    model.load_state_dict({name: tensors[name] for name in own})


def _common(chosen: Experiment) -> CommonNetwork:
    assert chosen.common is not None, f"{chosen.row} is no common network"
    return chosen.common
