"""The command line of `reproduce.py`: its options, and what one call is to do, checked before any work."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dynroute_core.system.errors import UsageError
from dynroute_core.system.machine import pick_device

if TYPE_CHECKING:  # imported where used: `--help` and a mistyped option answer at once
    from dynroute_core.experiments import Experiment
    from dynroute_suite.command.cluster_options import ClusterChoice
    from dynroute_suite.command.export import Target
    from dynroute_suite.command.forced_route import RouteChoice
    from dynroute_suite.command.summary import RowResult
    from dynroute_suite.notebook.row import Options

ROOT = Path(__file__).resolve().parents[2]
ROUTE_FACTORS = ("one", "gate")  # of `cell.RouteFactors`, which needs torch
CLUSTERS = ("slurm", "local")  # of `submission.ClusterName`
NOT_OF_A_JOB = {
    *("help", "row", "all", "list", "seed", "seeds", "cluster", "cluster_option", "status"),
    *("dry_run", "convert", "keep_going", "json"),
}


@dataclass(kw_only=True)
class Session:
    """What one call of the command is to do, and has done: results, by `name`. here: where the command was called."""

    arguments: argparse.Namespace
    experiments: list[Experiment]
    options: Options
    here: Path
    cluster: ClusterChoice | None = None
    export: Target | None = None
    route: RouteChoice | None = None
    results: dict[str, RowResult] = field(default_factory=dict)

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


def parser(text: str) -> argparse.ArgumentParser:
    """The command line. text: what `--help` says of the command, its first line on top."""
    description, _, epilog = text.partition("\n")
    made = argparse.ArgumentParser(
        prog="reproduce.py",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument_group("what").add_argument
    add("--row", action="append", default=[], metavar="ROW", help="a row of the table; may be repeated")
    add("--all", action="store_true", help="every row")
    add("--list", action="store_true", help="show the rows and the published numbers, and stop")
    add("--profile", help="smoke (seconds), demo (minutes, the default) or full (the paper's; default with --weights)")
    add(
        "--data",
        default="streets",
        metavar="NAME[=FOLDER]",
        help="streets (generated, the default), camvid, cityscapes",
    )
    add("--seed", type=int, default=0, help="default 0")
    add("--seeds", type=int, default=1, metavar="K", help="K seeds, from --seed on; default 1")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="for example train.batch=2")
    add = made.add_argument_group("with what").add_argument
    add("--weights", metavar="FILE", default="", help="evaluate these weights, a released .pth for one; train nothing")
    add("--init", metavar="FILE", default="", help="train from these weights, an ImageNet backbone for one")
    add("--convert", metavar="FILE.safetensors", type=Path, help="only write the given weights in our format, and stop")
    add("--route", metavar="ROUTE", default="", help="evaluate on a forced route: a name, FILE.json or image:NAME")
    add(
        "--route-factors", choices=ROUTE_FACTORS, default=ROUTE_FACTORS[0], help="its factors: 1, or what gates compute"
    )
    add = made.add_argument_group("how").add_argument
    add("--device", default="auto", help="auto (the default), cpu, cuda or cuda:N")
    add("--gpus", type=int, metavar="N", help="train on N GPUs of this machine together")
    add("--procs", type=int, metavar="N", help="train by N processes together, on the CPU")
    add("--out", type=Path, default=ROOT / "runs", metavar="FOLDER", help="default: runs, beside this file")
    add(
        "--export",
        default="",
        metavar="[SPLIT=]FOLDER",
        help="then write predictions in the Cityscapes test server's format; SPLIT is val (the default) or test",
    )
    add("--timeout", type=float, default=None, metavar="MINUTES", help="limit per row; default: none")
    add("--cluster", choices=CLUSTERS, default="", help="hand the runs over to SLURM, or to this machine alone")
    add(
        "--cluster-option",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="of submitit: partition, account, timeout_min, mem_gb, gpus_per_node, ...",
    )
    add("--status", action="store_true", help="say how far the runs in --out are (of all rows, or those given)")
    add("--dry-run", action="store_true", help="say what would run, and why, and stop")
    add("--force", action="store_true", help="run again even where a finished record would be reused")
    add("--keep-going", action="store_true", help="go on with the next row after one that failed")
    add("--json", action="store_true", help="a summary for programs on standard output, text on standard error")
    return made


def open_session(arguments: argparse.Namespace) -> Session:
    """Checks everything that can be checked before any work. Raises UsageError, and BlockedError for given weights that
    are refused or of another network."""
    settings = _settings(arguments.set)
    name, equals, given = arguments.data.partition("=")
    if equals and not given:
        raise UsageError(f"--data {arguments.data} names no folder. Give --data {name} or --data {name}=FOLDER.")
    if arguments.timeout is not None and not 0 < arguments.timeout < float("inf"):
        raise UsageError(f"--timeout {arguments.timeout:g}: give minutes above 0.")
    if arguments.all and arguments.row:
        raise UsageError("give --row or --all, not both.")
    if not (arguments.all or arguments.row):
        raise UsageError("give --row ROW (may be repeated) or --all; --list shows the rows.")
    if arguments.weights and (arguments.all or len(set(arguments.row)) > 1):
        raise UsageError("--weights are those of one row: give one --row.")
    settings |= _given_weights(arguments)
    if arguments.seeds < 1 or (arguments.seeds > 1 and "seed" in settings):
        raise UsageError(f"--seeds {arguments.seeds}: give a whole number of at least 1, and no --set seed=... beside.")
    _check_cluster(arguments)

    from dynroute_core.experiments import experiment, with_settings
    from dynroute_suite.command.given_weights import fitted
    from dynroute_suite.notebook.row import Options

    chosen = [
        with_settings(experiment(row, profile=profile_of(arguments), data=name, seed=seed), settings)
        for seed in seeds_of(arguments)
        for row in rows_of(arguments)
    ]
    for each in chosen:
        if each.weights is not None and each.common is None:  # else its tensors are known only when it runs
            fitted(each)
    chosen.sort(key=lambda each: (each.seed, each.common is not None))  # a common network comes after its source
    device, processes = _processes(arguments, chosen)
    target = None
    if arguments.export:
        from dynroute_suite.command.export import parse_target

        target = parse_target(arguments.export, name)
    options = Options(
        settings=settings,
        data_root=Path(given).expanduser().resolve() if given else None,
        out=arguments.out.expanduser().resolve(),
        device=device,
        processes=processes,
        force=arguments.force,
        timeout_s=arguments.timeout * 60 if arguments.timeout else None,
    )
    session = Session(arguments=arguments, experiments=chosen, options=options, export=target, here=Path.cwd())
    if arguments.cluster:
        from dynroute_suite.command.cluster_options import cluster_choice

        session.cluster = cluster_choice(arguments.cluster, arguments.cluster_option)
    if arguments.route:
        from dynroute_suite.command.forced_route import RouteChoice

        session.route = RouteChoice(arguments.route, arguments.route_factors)
        for each in chosen:
            session.route.check(each)
    return session


def profile_of(arguments: argparse.Namespace) -> str:
    return str(arguments.profile or ("full" if arguments.weights else "demo"))


def rows_of(arguments: argparse.Namespace) -> list[str]:
    """The rows that the command names, each once; they need not exist."""
    from dynroute_core.experiments import ROWS

    return list(ROWS) if arguments.all else list(dict.fromkeys(arguments.row))


def seeds_of(arguments: argparse.Namespace) -> range:
    return range(arguments.seed, arguments.seed + arguments.seeds)


def again(arguments: argparse.Namespace, rows: Sequence[str], seed: int) -> list[str]:
    """The words of a command that makes some of this one's runs, with everything else alike, and answers in JSON."""
    words = [word for row in rows for word in ("--row", row)] + ["--seed", str(seed), "--json"]
    for action in parser("")._actions:
        value = getattr(arguments, action.dest, action.default)
        if action.dest in NOT_OF_A_JOB or value == action.default:
            continue
        option = action.option_strings[-1]
        if isinstance(value, list):
            words += [option, *value]
        else:
            words.append(option if value is True else f"{option}={value}")
    return words


def _check_cluster(arguments: argparse.Namespace) -> None:
    if arguments.cluster_option and not arguments.cluster:
        raise UsageError("--cluster-option is of --cluster: give --cluster slurm or local, too.")
    if arguments.cluster and arguments.force:
        raise UsageError(
            "--cluster with --force: a job that is put back into the queue would start anew each time. Remove the "
            "runs' folders instead, or give another --out."
        )


def _processes(arguments: argparse.Namespace, chosen: list[Experiment]) -> tuple[str, int]:
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

    from dynroute_core.distributed import require_even, team_device

    if not elsewhere:
        team_device(kind, count)
    for each in chosen:
        if each.weights is None or each.weights.use == "start":
            require_even(each.train.batch, each.train.accumulate, count)
    return kind, count


def _given_weights(arguments: argparse.Namespace) -> dict[str, str]:
    """The setting of --weights or --init."""
    if arguments.weights and arguments.init:
        raise UsageError("give --weights to evaluate, or --init to train from, not both.")
    file = arguments.weights or arguments.init
    if not file:
        return {}
    place = Path(file).expanduser().resolve().as_posix()
    return {"weights": json.dumps({"file": place, "use": "evaluate" if arguments.weights else "start"})}


def _settings(words: list[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {word}: give KEY=VALUE, for example --set train.batch=2.")
        if key in settings:
            raise UsageError(f"--set {key} is given twice ({settings[key]} and {value}).")
        settings[key] = value
    return settings
