"""The command line and the images of benchmarks that look at one finished run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from dynroute_core.data.dataset import Sample
from dynroute_core.data.datasets import open_dataset
from dynroute_core.data.loader import eval_samples
from dynroute_core.experiments import Experiment
from dynroute_core.runs.plan import find_data
from dynroute_core.system.errors import DynrouteError


def val_samples(chosen: Experiment, data: Path | None) -> list[Sample]:
    """The images that a run was evaluated on. data: the data set's folder; streets need none."""
    dataset = open_dataset(chosen.data.name, find_data(chosen.data, data), "val")
    return list(eval_samples(dataset.subset(chosen.data.val_images or None), 0))


def command(name: str, description: str, look: Callable[[Path, Path | None], None]) -> int:
    """Looks at the run that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a finished run's folder, with its checkpoint")
    parser.add_argument("--data", type=Path, default=None, help="the data set's folder; streets need none")
    given = parser.parse_args()
    try:
        look(given.folder, given.data)
    except DynrouteError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
