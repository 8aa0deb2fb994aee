"""One row: is its finished notebook still good, and if not, run `notebooks/row.ipynb` for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.experiments import Experiment
from dynroute_core.runs.marks import forced_route, given_weights
from dynroute_core.runs.plan import RunPlan
from dynroute_core.runs.record import RECORD, Record, read_record
from dynroute_core.runs.recording import recorded_config
from dynroute_core.system.errors import DynrouteError
from dynroute_core.system.files import visible
from dynroute_suite.notebook import document
from dynroute_suite.notebook.supervisor import DONE_NOTEBOOK, Job, Outcome, execute

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "notebooks" / "row.ipynb"
REPORT_SOURCES = ("dynroute_suite/report/*.py", "dynroute_suite/figures/*.py", "dynroute_core/published.py")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run, beside the experiment itself. settings: as given with --set. processes: how many train
    together. timeout_s: per row, None for none."""

    settings: Mapping[str, str]
    data_root: Path | None
    out: Path
    device: str = "auto"
    processes: int = 1
    force: bool = False
    timeout_s: float | None = None


def title(experiment: Experiment) -> str:
    """The heading of a row's notebook: no demo page passes for a published result."""
    config = recorded_config(experiment)
    marks = [mark for find in (given_weights, forced_route) if (mark := find(config))]
    return ", ".join([f"{experiment.title}: {experiment.profile} profile on {experiment.data.name}", *marks])


def stamp(folder: Path) -> str:
    """sha256 over what a row's notebook is made of: its template, the report's sources and the record it shows."""
    digest = hashlib.sha256(TEMPLATE.read_bytes())
    for pattern in REPORT_SOURCES:
        for path in visible(ROOT, pattern):
            digest.update(b"\0" + path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(b"\0" + (folder / RECORD).read_bytes())
    return digest.hexdigest()


def is_fresh(plan: RunPlan) -> bool:
    """Whether nothing is to be done: a finished record with the planned key, and a notebook made from it as it is."""
    if not plan.finished:
        return False
    made = document.stamp_of(plan.folder / DONE_NOTEBOOK)
    return bool(made) and made == stamp(plan.folder)


def parameters(experiment: Experiment, options: Options) -> dict[str, object]:
    """The parameters of `notebooks/row.ipynb`."""
    return {
        "row": experiment.row,
        "profile": experiment.profile,
        "data": experiment.data.name,
        "data_root": _portable_path(options.data_root) if options.data_root else "",
        "seed": experiment.seed,
        "device": options.device,
        "processes": options.processes,
        "settings": dict(options.settings),
        "out": _portable_path(options.out),
        "force": options.force,
        "progress_file": "",
        "finished": "",
    }


def _portable_path(path: Path) -> str:
    """Relative to the repository where it lies inside, so that the notebook says the same on every machine."""
    whole = path.resolve()
    return whole.relative_to(ROOT).as_posix() if whole.is_relative_to(ROOT) else whole.as_posix()


def checked_record(plan: RunPlan) -> Record:
    """The record that a run of this plan has to leave.

    Raises DynrouteError where it is missing, broken or of another run.
    """
    path = plan.folder / RECORD
    record = read_record(path) if path.exists() else None
    if record is None or record.key != plan.key:
        found = f"has the key {record.key[:8]}" if record else "is missing"
        raise DynrouteError(
            f"{path} {found}, planned was a record with the key {plan.key[:8]}: were sources or data changed during "
            "the run? Run the same command again."
        )
    return record


def run_row(experiment: Experiment, plan: RunPlan, options: Options) -> Outcome:
    """Runs the row's notebook and, by it, the row; a fresh notebook is left as it is.

    Raises BlockedError where another process runs the same row, or the disk is full.
    """
    if not options.force and is_fresh(plan):
        return Outcome(
            state="done",
            exit_code=0,
            error="",
            message="",
            notebook=plan.folder / DONE_NOTEBOOK,
            interrupted=False,
            seconds=0.0,
        )
    job = Job(
        name=experiment.row,
        title=title(experiment),
        notebook=TEMPLATE,
        folder=plan.folder,
        root=ROOT,
        parameters=parameters(experiment, options),
        resets={"force": "False"},
        timeout_s=options.timeout_s,
    )
    return execute(job, check=lambda: checked_record(plan), stamp=lambda: stamp(plan.folder))
