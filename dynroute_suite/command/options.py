"""The command line of `reproduce.py`: its options, and what their words alone show to be wrong.

Imports nothing that takes long: `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from dynroute_core.system.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "runs"
SHIPPED = "shipped"  # as --weights: those of the row in results/
ROUTE_FACTORS = ("one", "gate")  # of `cell.RouteFactors`, which needs torch
CLUSTERS = ("slurm", "local")  # of `cluster_options.ClusterName`
NOT_OF_A_JOB = {
    *("help", "row", "all", "list", "seed", "seeds", "cluster", "cluster_option", "status"),
    *("dry_run", "convert", "keep_going", "json"),
}
OF_PREDICT = ("predict", "row", "profile", "data", "set", "weights", "device", "out", "force", "json")


def parser(text: str) -> ArgumentParser:
    """The command line. text: what `--help` says of the command, its first line on top."""
    description, _, epilog = text.partition("\n")
    made = ArgumentParser(
        prog="reproduce.py",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_what(made)
    _add_with_what(made)
    _add_how(made)
    return made


def _add_what(made: ArgumentParser) -> None:
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


def _add_with_what(made: ArgumentParser) -> None:
    add = made.add_argument_group("with what").add_argument
    add(
        "--weights",
        metavar="FILE",
        default="",
        help="evaluate these weights, a released .pth for one, or those of the row that ship: shipped; train nothing",
    )
    add("--init", metavar="FILE", default="", help="train from these weights, an ImageNet backbone for one")
    add("--convert", metavar="FILE.safetensors", type=Path, help="only write the given weights in our format, and stop")
    add("--route", metavar="ROUTE", default="", help="evaluate on a forced route: a name, FILE.json or image:NAME")
    add(
        "--predict",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE|FOLDER",
        help="only segment these pictures, by the weights that ship or --weights; --out is then predictions, here",
    )
    add(
        "--route-factors", choices=ROUTE_FACTORS, default=ROUTE_FACTORS[0], help="its factors: 1, or what gates compute"
    )


def _add_how(made: ArgumentParser) -> None:
    add = made.add_argument_group("how").add_argument
    add("--device", default="auto", help="auto (the default), cpu, cuda or cuda:N")
    add("--gpus", type=int, metavar="N", help="train on N GPUs of this machine together")
    add("--procs", type=int, metavar="N", help="train by N processes together, on the CPU")
    add("--out", type=Path, default=RUNS, metavar="FOLDER", help="default: runs, beside this file")
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


def check(arguments: Namespace) -> None:
    """Raises UsageError for what the words alone show to be wrong."""
    settings_of(arguments)
    data_of(arguments)
    if arguments.predict:
        _check_predict(arguments)
        return
    if arguments.timeout is not None and not 0 < arguments.timeout < float("inf"):
        raise UsageError(f"--timeout {arguments.timeout:g}: give minutes above 0.")
    _check_rows(arguments)
    _check_weights(arguments)
    _check_seeds(arguments)
    _check_cluster(arguments)


def settings_of(arguments: Namespace) -> dict[str, str]:
    """The settings given with --set. Raises UsageError."""
    settings: dict[str, str] = {}
    for word in arguments.set:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {word}: give KEY=VALUE, for example --set train.batch=2.")
        if key in settings:
            raise UsageError(f"--set {key} is given twice ({settings[key]} and {value}).")
        settings[key] = value
    return settings


def data_of(arguments: Namespace) -> tuple[str, Path | None]:
    """The data set and its folder, None where none is given. Raises UsageError."""
    name, equals, given = arguments.data.partition("=")
    if equals and not given:
        raise UsageError(f"--data {arguments.data} names no folder. Give --data {name} or --data {name}=FOLDER.")
    return name, expanded(given).resolve() if given else None


def expanded(path: str | Path) -> Path:
    """A path that a user gave, its `~` replaced. Raises UsageError where nobody knows what `~` is."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # no HOME and no entry of this user in passwd, or no such user
        raise UsageError(f"{path}: there is no such home folder. Give the whole path.") from error


def profile_of(arguments: Namespace) -> str:
    return str(arguments.profile or ("full" if arguments.weights else "demo"))


def rows_of(arguments: Namespace, every: Iterable[str]) -> list[str]:
    """The rows that the command names, each once; they need not exist. every: what --all means."""
    return list(every) if arguments.all else list(dict.fromkeys(arguments.row))


def seeds_of(arguments: Namespace) -> range:
    return range(arguments.seed, arguments.seed + arguments.seeds)


def weights_setting(arguments: Namespace) -> dict[str, str]:
    """The setting of --weights or --init; none without them."""
    file = arguments.weights or arguments.init
    if not file:
        return {}
    place = expanded(file).resolve().as_posix()
    return {"weights": json.dumps({"file": place, "use": "evaluate" if arguments.weights else "start"})}


def job_words(arguments: Namespace, rows: Sequence[str], seed: int) -> list[str]:
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


def _check_predict(arguments: Namespace) -> None:
    for action in parser("")._actions:
        if action.dest not in OF_PREDICT and getattr(arguments, action.dest, action.default) != action.default:
            allowed = ", ".join(f"--{name}" for name in OF_PREDICT[1:])
            raise UsageError(f"--predict with {action.option_strings[-1]}: only {allowed} go with it.")
    if len(set(arguments.row)) > 1:
        raise UsageError("--predict is by one network: give one --row.")
    fitting = arguments.weights not in ("", SHIPPED) and arguments.row
    if (arguments.set or arguments.profile or arguments.data != parser("").get_default("data")) and not fitting:
        raise UsageError(
            "--predict with --profile, --data or --set: these say what network --weights FILE is of. Give --row and "
            "--weights FILE with them."
        )


def _check_rows(arguments: Namespace) -> None:
    if arguments.all and arguments.row:
        raise UsageError("give --row or --all, not both.")
    if not (arguments.all or arguments.row):
        raise UsageError("give --row ROW (may be repeated) or --all; --list shows the rows.")


def _check_weights(arguments: Namespace) -> None:
    if arguments.weights and (arguments.all or len(set(arguments.row)) > 1):
        raise UsageError("--weights are those of one row: give one --row.")
    if arguments.weights and arguments.init:
        raise UsageError("give --weights to evaluate, or --init to train from, not both.")


def _check_seeds(arguments: Namespace) -> None:
    if arguments.seeds < 1 or (arguments.seeds > 1 and "seed" in settings_of(arguments)):
        raise UsageError(f"--seeds {arguments.seeds}: give a whole number of at least 1, and no --set seed=... beside.")


def _check_cluster(arguments: Namespace) -> None:
    if arguments.cluster_option and not arguments.cluster:
        raise UsageError("--cluster-option is of --cluster: give --cluster slurm or local, too.")
    if arguments.cluster and arguments.force:
        raise UsageError(
            "--cluster with --force: a job that is put back into the queue would start anew each time. Remove the "
            "runs' folders instead, or give another --out."
        )
    place = str(expanded(arguments.out).resolve())
    if arguments.cluster and (read := sorted(set(place) & set("%\\\n"))):
        raise UsageError(
            f"--out {place}: SLURM and submitit read {' and '.join(map(repr, read))} in a path as something else, as a "
            "job's number. Give --out a folder whose path is without."
        )
