"""A stand-in for a cluster."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dynroute_suite.cluster import queue, submit
from dynroute_suite.cluster.job import RowJob
from dynroute_suite.command import cluster_options


@dataclass
class Queue:
    """A stand-in for SLURM: what was handed over, and what squeue says."""

    handed: list[list[RowJob]]
    asked: list[list[str]]
    lines: str = ""
    trouble: BaseException | None = None


def stand_in_queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Puts a queue in the place of SLURM: executor, squeue and scancel."""
    made = Queue([], [])

    @dataclass
    class Job:
        job_id: str

    class Executor:
        def submit_array(self, work: list[RowJob]) -> list[Job]:
            if made.trouble:
                raise made.trouble
            made.handed.append(work)
            return [Job(f"7_{index}") for index in range(len(work))]

    def ask(words: list[str]) -> str:
        made.asked.append(words)
        return made.lines if words[0] == "squeue" else ""

    monkeypatch.setattr(cluster_options.shutil, "which", lambda name: name)
    monkeypatch.setattr(submit, "executor", lambda *_: Executor())
    monkeypatch.setattr(queue, "ask", ask)
    return made
