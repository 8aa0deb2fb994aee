"""What a run says while it is at work. Without torch: who only looks on imports this too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RunProgress:
    """How far a run is. phase: data, paths, train, precise_bn, evaluate; text: what a progress bar shows beside it."""

    phase: str
    done: int
    total: int
    text: str


Report = Callable[[RunProgress], None]
