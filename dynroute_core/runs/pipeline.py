"""`run(experiment)` → Record: found again, taken up, or made anew by an `Attempt`.

A run lives in `OUT/ROW/PROFILE-DATA-seedK-KEY/`. Its key is a hash of the settings, the data's fingerprints and the
sources, so a finished record is reused only where it would come out again, and nothing is ever overwritten by another
setting's run. An interrupted run goes on from its checkpoint: the same command finishes it, with the record it would
have had.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

from dynroute_core.data.loader import eval_samples
from dynroute_core.distributed import ALONE, Team
from dynroute_core.experiments import Experiment
from dynroute_core.runs.attempt import Attempt
from dynroute_core.runs.common_networks import OPEN_PATHS, common_network
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.plan import (
    RunPlan,
    find_data,
    ingredients,
    open_data,
    plan,
    plan_opened,
    require_route,
    settled,
)
from dynroute_core.runs.progress import Report, RunProgress, foreseen, work_ahead
from dynroute_core.runs.record import CHECKPOINT, CURVE, PLAN, RECORD, ROUTES
from dynroute_core.system.files import make_folder, remove_stale, write_whole
from dynroute_core.system.locks import locked
from dynroute_core.system.machine import pick_device
from dynroute_core.system.signals import Signals

WRITTEN = (PLAN, OPEN_PATHS, CHECKPOINT, CURVE, ROUTES, "*.png", RECORD)  # by a run, in a folder that notebooks share

__all__ = ["FinishedRun", "Report", "RunPlan", "RunProgress", "find_data", "plan", "run"]


def run(
    experiment: Experiment,
    *,
    data_root: Path | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
    force: bool = False,
    report: Report | None = None,
    team: Team = ALONE,
) -> FinishedRun:
    """Runs an experiment to its record, or reuses, or resumes. force: start anew even where a record is finished.
    team: the processes that call this together, of which the first alone writes files (`workers.agent` starts them).

    Raises BlockedError (data, weights, disk, or another process at work on the same run), UsageError,
    NonFiniteLossError, and KeyboardInterrupt on SIGINT and SIGTERM, after writing a checkpoint.
    """
    say = report or (lambda progress: None)
    chosen_device = pick_device(device)
    say(RunProgress("data", 0, 1, f"opening {experiment.data.name}"))
    data = open_data(experiment, data_root, team)
    experiment = settled(experiment, data, out)
    planned = plan_opened(experiment, data, out, force=force)
    if planned.finished:
        return FinishedRun.open(planned.folder, planned.key)
    make_folder(planned.folder)
    with locked(planned.folder) if team.leads else nullcontext(), Signals() as signals:
        with team.leader_first():
            # Again: another process may have finished it since. (After the leader, what is forced is cleared away.)
            planned = plan_opened(experiment, data, out, force=force)
            if planned.finished:
                return FinishedRun.open(planned.folder, planned.key)
            if team.leads:
                remove_stale(planned.folder, WRITTEN)
                if force:
                    for name in (RECORD, CHECKPOINT, CURVE, OPEN_PATHS):
                        (planned.folder / name).unlink(missing_ok=True)
                write_whole(planned.folder / PLAN, json.dumps(ingredients(experiment, data), indent=1).encode())
            if experiment.common is not None:
                images, total = eval_samples(data.train, experiment.data.workers), len(data.train)
                experiment = common_network(
                    experiment,
                    images,
                    data.train_fingerprint,
                    planned.folder,
                    chosen_device,
                    each=lambda done: say(RunProgress("paths", done, total, "counting open paths")),
                )
                require_route(experiment)
        say = foreseen(say, work_ahead(experiment, len(data.val)))
        record = Attempt(experiment, data, planned, chosen_device, say, signals, team).finish()
    return FinishedRun(planned.folder, record, reused=False)
