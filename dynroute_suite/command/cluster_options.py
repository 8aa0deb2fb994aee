"""What `--cluster` and `--cluster-option` ask for, checked against what submitit knows before any work."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import msgspec

from dynroute_core.system.errors import BlockedError, UsageError, suggest

if TYPE_CHECKING:
    from pathlib import Path

    from submitit import Executor

ClusterName = Literal["slurm", "local"]
LANES, DELAY = "array_parallelism", "signal_delay_s"
# What a job of ours cannot have: a run is one command on one machine, found by its name, in one array.
_OURS = {"name", "job_name", "nodes", "tasks_per_node", "ntasks_per_node", "num_gpus", "map_count", "stderr_to_stdout"}
_WHOLE = ("timeout_min", "time", "gpus_per_node", "cpus_per_task", LANES, DELAY)
MINUTES: Mapping[ClusterName, int] = {"slurm": 24 * 60, "local": 365 * 24 * 60}
DELAY_S = 120  # to write a checkpoint and leave, before the time is up
MARGIN_S = 15  # of that, for submitit to put the job back
MAX_TIMEOUTS = 1000  # a run of weeks meets many limits of hours; `job.MAX_IDLE` ends those that come no further


@dataclass(frozen=True, kw_only=True)
class ClusterChoice:
    """Where to hand runs over to, and submitit's parameters for it."""

    name: ClusterName
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def delay_s(self) -> int:
        """How long before its end a job is told."""
        return _whole_number(self.parameters, DELAY, DELAY_S)

    @property
    def lanes(self) -> int:
        """How many runs this machine works on at once."""
        return _whole_number(self.parameters, LANES, 1)

    @property
    def patience_s(self) -> float:
        """How long a command may take to stop."""
        return max(self.delay_s - MARGIN_S, MARGIN_S)


def cluster_choice(name: ClusterName, words: Sequence[str]) -> ClusterChoice:
    """The choice, once its options are known and fit. Raises UsageError, and BlockedError where the cluster is not
    here."""
    submitit = _import_submitit()
    if name == "slurm" and shutil.which("sbatch") is None:
        raise BlockedError("--cluster slurm: sbatch is not on this machine. Log in where jobs are submitted, or local.")
    allowed = _allowed_options(submitit, name)
    parameters: dict[str, object] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not text:
            raise UsageError(f"--cluster-option {word}: give KEY=VALUE, for example partition=gpu.")
        if key not in allowed:
            raise suggest(f"option of --cluster {name}", key, sorted(allowed))
        if key in parameters:
            raise UsageError(f"--cluster-option {key} is given twice.")
        parameters[key] = _parse_value(key, text)
    choice = ClusterChoice(name=name, parameters=parameters)
    if choice.delay_s >= 60 * minutes(choice):
        raise UsageError(
            f"--cluster-option {DELAY}={choice.delay_s}: a job of {minutes(choice)} minutes would be told to stop "
            f"before it begins. Give a longer timeout_min, or a smaller {DELAY}."
        )
    return choice


def minutes(choice: ClusterChoice) -> int:
    """The time limit of one start of a job."""
    return _whole_number(
        choice.parameters, "timeout_min", _whole_number(choice.parameters, "time", MINUTES[choice.name])
    )


def executor(choice: ClusterChoice, folder: Path, name: str) -> Executor:
    """submitit's executor for jobs with this name, which keeps its files in `folder`. Raises UsageError for values that
    it refuses."""
    common: dict[str, object] = {"timeout_min": minutes(choice), DELAY: choice.delay_s, "stderr_to_stdout": True}
    try:
        return (_local_executor if choice.name == "local" else _slurm_executor)(
            folder, common | dict(choice.parameters), name
        )
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise UsageError(f"--cluster-option: submitit refuses them: {error}") from error


def _local_executor(folder: Path, parameters: dict[str, object], name: str) -> Executor:
    made = _import_submitit().LocalExecutor(folder=folder, max_num_timeout=MAX_TIMEOUTS)
    parameters.pop(LANES, None)
    made.update_parameters(**({"gpus_per_node": _gpu_count()} | parameters))
    return made


def _slurm_executor(folder: Path, parameters: dict[str, object], name: str) -> Executor:
    """`requeue` whatever the cluster's default is: a run goes on where it was, so its job may always be put back."""
    submitit = _import_submitit()
    made = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=MAX_TIMEOUTS)
    parameters.pop("time", None)  # it is in timeout_min
    more = parameters.pop("additional_parameters", {})
    if not isinstance(more, dict):
        raise TypeError(f"additional_parameters={more!r} is no JSON object.")
    parameters |= {"name": name, "additional_parameters": {"requeue": True} | more}
    generic = submitit.AutoExecutor._typed_parameters()
    made.update_parameters(**{key if key in generic else f"slurm_{key}": value for key, value in parameters.items()})
    return made


def _import_submitit() -> ModuleType:
    try:
        import submitit
    except ImportError as error:
        raise BlockedError("--cluster needs submitit: pip install submitit (the extra `cluster`).") from error
    return submitit


def _allowed_options(submitit: ModuleType, name: ClusterName) -> set[str]:
    if name == "local":
        return {"timeout_min", "gpus_per_node", "setup", DELAY, LANES}
    return {*submitit.SlurmExecutor._valid_parameters(), *submitit.AutoExecutor._typed_parameters()} - _OURS


def _parse_value(key: str, text: str) -> object:
    try:
        value: object = msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        value = text
    least = 0 if key == "gpus_per_node" else 1
    if key in _WHOLE and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        raise UsageError(f"--cluster-option {key}={text}: give a whole number of at least {least}.")
    if key == "setup" and not (isinstance(value, list) and all(isinstance(line, str) for line in value)):
        raise UsageError(f"--cluster-option setup={text}: give a JSON list of shell commands.")
    return value


def _whole_number(parameters: Mapping[str, object], key: str, default: int) -> int:
    value = parameters.get(key, default)
    assert isinstance(value, int)  # `_parse_value` saw to it
    return value


def _gpu_count() -> int:
    """submitit hides the GPUs from a local job that does not ask for them."""
    import torch  # takes seconds, and `--status` imports this module too

    return torch.cuda.device_count()
