"""`--weights shipped`: the row's weights that ship, evaluated as any other file's, at the settings of their run."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping

import msgspec

from dynroute_core.experiments import Experiment, experiment
from dynroute_core.runs.shipped import find_shipped
from dynroute_core.system.errors import UsageError
from dynroute_suite.command.options import SHIPPED, data_of, settings_of

_PARTS = ("data", "model", "evaluate")  # of an experiment: what an evaluation depends on


def with_shipped(arguments: Namespace) -> Namespace:
    """The words of a command with `--weights shipped` as if its file, profile and settings had been given; other words
    as they are.

    Raises UsageError where another profile or other data are asked for, and as `find_shipped`.
    """
    if arguments.weights != SHIPPED:
        return arguments
    row = arguments.row[0]
    shipped = find_shipped(row)
    ran, (data, _) = shipped.run.experiment, data_of(arguments)
    if data != ran.data.name or arguments.profile not in (None, ran.profile):
        raise UsageError(
            f"the weights of {row} that ship are of the {ran.profile} profile on {ran.data.name}: leave --profile and "
            "--data out, or give other weights with --weights FILE."
        )
    theirs = differences(experiment(row, profile=ran.profile, data=data, seed=arguments.seed), ran)
    words = [f"{name}={value}" for name, value in theirs.items() if name not in settings_of(arguments)]
    changed = {"weights": str(shipped.path), "profile": ran.profile, "set": [*arguments.set, *words]}
    return Namespace(**vars(arguments) | changed)


def differences(usual: Experiment, ran: Experiment) -> Mapping[str, str]:
    """The settings, as `--set` takes them, that make the usual evaluation of a row that of a run.

    A common network's paths are among them: its source, whose run need not be here, is then not asked for.
    """
    ours, theirs = msgspec.to_builtins(usual), msgspec.to_builtins(ran)
    found = {
        f"{part}.{name}": json.dumps(value)
        for part in _PARTS
        for name, value in theirs[part].items()
        if value != ours[part][name]
    }
    return found | ({"common": "null"} if usual.common is not None else {})
