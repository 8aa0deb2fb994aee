"""Losses that become NaN or infinite: the iteration and the files are named, or the batch is left out and counted.

Takes whether each iteration's loss and gradient norm are finite, as a tensor on the device, and reads it only when
asked to. Knows no model: what leaving a batch out means for weights and statistics is `train.py`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dynroute_core.system.errors import DynrouteError

LONGEST_SKIP = 10  # batches left out in a row: more are no accident of one image, but a training that has diverged


class NonFiniteLossError(DynrouteError):
    """The loss or its gradient became NaN or infinite."""


class Watch:
    """Remembers the first iteration that was not finite, and how many batches were left out.

    skipped: all of them; in_a_row: the latest, since a batch was last trained on. Both travel in checkpoints.
    """

    def __init__(self, device: torch.device) -> None:
        self.skipped = 0
        self.in_a_row = 0
        self._first = torch.full((), -1, dtype=torch.int64, device=device)
        self._names: dict[int, tuple[str, ...]] = {}  # of the iterations since `require` last looked

    def note(self, finite: Tensor, iteration: int, names: tuple[str, ...]) -> None:
        """Notes an iteration whose batch is trained on, without waiting for the device. names: of its files."""
        self._first = torch.where((self._first < 0) & ~finite, iteration, self._first)
        self._names[iteration] = names
        self.in_a_row = 0

    def require(self) -> None:
        """Raises NonFiniteLossError naming the first iteration that was not finite, and its files."""
        first = int(self._first)
        if first >= 0:
            raise NonFiniteLossError(
                f"the loss or its gradient is not finite at iteration {first} "
                f"(files: {', '.join(self._names[first])}). Lower train.lr, look at these files, or leave such batches "
                "out with --set train.skip_nonfinite=true, which is a run of its own."
            )
        self._names.clear()

    def skip(self, iteration: int, names: tuple[str, ...]) -> None:
        """Counts a batch that is left out. Raises NonFiniteLossError where there were too many in a row."""
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= LONGEST_SKIP:
            raise NonFiniteLossError(
                f"the loss or its gradient was not finite in {self.in_a_row} batches in a row, the last at iteration "
                f"{iteration} (files: {', '.join(names)}). Lower train.lr or look at these files."
            )

    def facts(self) -> dict[str, object]:
        """What a checkpoint holds of this."""
        return {"skipped": self.skipped, "skipped_in_a_row": self.in_a_row}

    def restore(self, facts: Mapping[str, object]) -> None:
        """Goes back to what `facts` gave. Raises ValueError where these are no counts."""
        counts = [facts.get("skipped"), facts.get("skipped_in_a_row")]
        found = [count for count in counts if isinstance(count, int) and count >= 0]
        if len(found) < len(counts):
            raise ValueError(f"the numbers of batches left out are {counts}")
        self.skipped, self.in_a_row = found
        self._first.fill_(-1)
        self._names.clear()
