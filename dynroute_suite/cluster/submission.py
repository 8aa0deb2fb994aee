"""What was handed to a cluster, as files: `OUT/cluster/NAME/submission.json`, and beside it what submitit keeps.

A submission is written whole before anything is handed over, and again with the jobs' numbers afterwards. One without
numbers was killed in between: the next submission takes it back.

What lies there besides: each job's script and log, each command's answer (`answer-N.json`), and submitit's pickles of
the `job.RowJob`s it was given, which the jobs themselves load. Whoever could write there could run programs as you, so
the folder is its owner's alone; nothing else here reads a pickle.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dynroute_core.system.errors import BlockedError
from dynroute_core.system.files import read_file, write_whole
from dynroute_core.system.strict_json import parse, to_json
from dynroute_suite.command.cluster_options import ClusterName
from dynroute_suite.command.summary import RowResult

FOLDER, FILE = "cluster", "submission.json"
PRIVATE = 0o700


@dataclass(frozen=True, kw_only=True)
class RunName:
    """One run of a job. folder: "" where it is known only once the row's source has run."""

    row: str
    profile: str
    data: str
    seed: int
    folder: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """One call of reproduce.py: its arguments, and the runs that it makes one after the other."""

    words: tuple[str, ...]
    runs: tuple[RunName, ...]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Tasks handed over together, under one name in the queue. jobs: each task's job, empty until they are known."""

    name: str
    cluster: ClusterName
    tasks: tuple[Task, ...]
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command said with --json. message: why nothing ran, "" else."""

    exit_code: int
    message: str
    rows: tuple[RowResult, ...]


def home(out: Path) -> Path:
    """Where the submissions of an OUT folder lie."""
    return out / FOLDER


def answer_path(folder: Path, index: int) -> Path:
    """The file with the answer of a submission's task."""
    return folder / f"answer-{index}.json"


def log_path(folder: Path, job: str) -> Path:
    """The log of a job, by submitit's naming."""
    return folder / f"{job}_0_log.out"


def make_private(folder: Path) -> None:
    """Makes a folder that its owner alone may enter. Raises BlockedError where it cannot be made, or is another's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise BlockedError(f"{folder} belongs to another user, who could change what your jobs run: other --out.")
        folder.chmod(PRIVATE)
    except OSError as error:
        raise BlockedError(f"cannot write to {folder}: {error.strerror}. Choose another --out folder.") from error


def write_submission(folder: Path, submission: Submission) -> None:
    write_whole(folder / FILE, to_json(submission))


def submissions(out: Path) -> list[tuple[Path, Submission]]:
    """Every submission of an OUT folder, the latest first. Raises BlockedError for a broken file."""
    found = sorted(home(out).glob(f"*/{FILE}"), reverse=True)
    return [(path.parent, parse(Submission, read_file(path), path)) for path in found]


def discard(folder: Path) -> None:
    """Removes a submission whose jobs never ran."""
    shutil.rmtree(folder, ignore_errors=True)


def read_answer(folder: Path, index: int) -> Answer | None:
    """A task's answer; None where there is none yet, or it said nothing that can be read."""
    try:
        return msgspec.json.decode(answer_path(folder, index).read_bytes(), type=Answer)
    except (OSError, msgspec.MsgspecError):
        return None
