"""Two processes that form a team over gloo, for tests: each runs a function with its `Team`, and gives what it gave."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from dynroute_core.distributed import Team

PATIENCE_S = 120.0


def _member(rank: int, size: int, store: str, talk: Connection) -> None:
    torch.set_num_threads(1)  # as in the process that the results are compared with
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    while (task := talk.recv()) is not None:
        function, arguments = task
        torch.manual_seed(20)
        try:
            talk.send((function(Team(rank, size), *arguments), ""))
        except Exception:
            talk.send((None, traceback.format_exc()))


class Together:
    """Runs functions in all members at once."""

    def __init__(self, talks: list[Connection]) -> None:
        self._talks = talks

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `function(team, *arguments)` gives in each member, by rank. It must be importable."""
        for talk in self._talks:
            talk.send((function, arguments))
        answers = []
        for talk in self._talks:
            assert talk.poll(PATIENCE_S), "a member does not answer"
            answers.append(talk.recv())
        errors = [error for _, error in answers if error]
        assert not errors, "\n".join(errors)
        return [answer for answer, _ in answers]


@contextmanager
def two_processes(folder: Path, size: int = 2) -> Iterator[Together]:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(size)]
    members = [
        context.Process(target=_member, args=(rank, size, str(folder / "store"), pipe[1]), daemon=True)
        for rank, pipe in enumerate(pipes)
    ]
    for member in members:
        member.start()
    try:
        yield Together([pipe[0] for pipe in pipes])
        for pipe in pipes:
            pipe[0].send(None)
        for member in members:
            member.join(PATIENCE_S)
    finally:
        for member in members:
            member.kill()
