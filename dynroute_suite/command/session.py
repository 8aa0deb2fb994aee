"""What one call of the command is to do, checked as far as it can be before any work."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.distributed import require_even, team_device
from dynroute_core.experiments import ROWS, Experiment, experiment, rate_warning, with_settings
from dynroute_core.system.errors import UsageError
from dynroute_core.system.machine import pick_device
from dynroute_suite.command.cluster_options import ClusterChoice, cluster_choice
from dynroute_suite.command.export import Target, parse_target
from dynroute_suite.command.forced_route import RouteChoice
from dynroute_suite.command.given_weights import fit_weights
from dynroute_suite.command.options import (
    data_of,
    expanded,
    profile_of,
    rows_of,
    seeds_of,
    settings_of,
    weights_setting,
)
from dynroute_suite.command.shipped_weights import with_shipped
from dynroute_suite.notebook.row import Options


@dataclass(frozen=True, kw_only=True)
class Session:
    """What one call of the command is to do. here: where it was called."""

    arguments: Namespace
    experiments: tuple[Experiment, ...]
    options: Options
    here: Path
    cluster: ClusterChoice | None = None
    export: Target | None = None
    route: RouteChoice | None = None

    def say(self, text: str) -> None:
        """Text for people; with --json standard output belongs to the machine."""
        print(text, file=sys.stderr if self.arguments.json else sys.stdout, flush=True)

    def name(self, experiment: Experiment) -> str:
        """A run as this call's messages name it: its row, and its seed where there are several."""
        return f"{experiment.row} seed {experiment.seed}" if self.arguments.seeds > 1 else experiment.row

    def source(self, experiment: Experiment) -> Experiment | None:
        """The run of this call that a common network is taken from; None where it is no run of this call."""
        common = experiment.common
        if common is None or common.source_key:
            return None
        sought = (common.source, experiment.seed)
        return next((other for other in self.experiments if (other.row, other.seed) == sought), None)


def open_session(arguments: Namespace) -> Session:
    """Checks everything that `options.check` left and that can be checked before any work.

    Raises UsageError, and BlockedError for given weights that are refused or of another network, and for a cluster that
    is not here.
    """
    arguments = with_shipped(arguments)
    experiments = _experiments(arguments)
    data, _ = data_of(arguments)
    session = Session(
        arguments=arguments,
        experiments=experiments,
        options=_options(arguments, experiments),
        here=Path.cwd(),
        export=parse_target(arguments.export, data) if arguments.export else None,
        cluster=cluster_choice(arguments.cluster, arguments.cluster_option) if arguments.cluster else None,
        route=_route(arguments, experiments),
    )
    for warning in dict.fromkeys(rate_warning(each) for each in experiments if trains(each)):
        if warning:
            session.say(warning)
    return session


def trains(experiment: Experiment) -> bool:
    """Whether a run trains at all, rather than to evaluate given weights."""
    return experiment.weights is None or experiment.weights.use == "start"


def _experiments(arguments: Namespace) -> tuple[Experiment, ...]:
    """The runs, a common network after its source; given weights are read, and fit."""
    settings, (data, _) = _settings(arguments), data_of(arguments)
    chosen = [
        with_settings(experiment(row, profile=profile_of(arguments), data=data, seed=seed), settings)
        for seed in seeds_of(arguments)
        for row in rows_of(arguments, ROWS)
    ]
    for each in chosen:
        if each.weights is not None and each.common is None:  # else its tensors are known only when it runs
            fit_weights(each)
    return tuple(sorted(chosen, key=lambda each: (each.seed, each.common is not None)))


def _settings(arguments: Namespace) -> dict[str, str]:
    return settings_of(arguments) | weights_setting(arguments)


def _options(arguments: Namespace, experiments: Sequence[Experiment]) -> Options:
    device, processes = _processes(arguments, experiments)
    _, data_root = data_of(arguments)
    return Options(
        settings=_settings(arguments),
        data_root=data_root,
        out=expanded(arguments.out).resolve(),
        device=device,
        processes=processes,
        force=arguments.force,
        timeout_s=arguments.timeout * 60 if arguments.timeout else None,
    )


def _route(arguments: Namespace, experiments: Sequence[Experiment]) -> RouteChoice | None:
    if not arguments.route:
        return None
    choice = RouteChoice(arguments.route, arguments.route_factors)
    for each in experiments:
        choice.check(each)
    return choice


def _processes(arguments: Namespace, experiments: Sequence[Experiment]) -> tuple[str, int]:
    """The device, and how many processes train together on it."""
    if arguments.gpus is not None and arguments.procs is not None:
        raise UsageError("give --gpus or --procs, not both.")
    option, count, kind = (
        ("--gpus", arguments.gpus, "cuda") if arguments.procs is None else ("--procs", arguments.procs, "cpu")
    )
    elsewhere = arguments.cluster == "slurm"  # where jobs are submitted there need not be a GPU
    if count is None:
        if not elsewhere:
            pick_device(arguments.device)
        return arguments.device, 1
    if arguments.device not in ("auto", kind):
        raise UsageError(f"{option} {count} with --device {arguments.device}: leave --device out, or choose {kind}.")

    if not elsewhere:
        team_device(kind, count)
    for each in experiments:
        if trains(each):
            require_even(each.train.batch, each.train.accumulate, count)
    return kind, count
