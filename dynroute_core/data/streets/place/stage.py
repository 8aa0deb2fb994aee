"""The stage of a street scene: what has been placed so far, where room is left, the painting order."""

from __future__ import annotations

from typing import Protocol

from dynroute_core.data.streets.canvas import Canvas
from dynroute_core.data.streets.dice import Dice
from dynroute_core.data.streets.plan import ScenePlan


class Painter(Protocol):
    """Paints one placed thing, its look drawn from `dice`."""

    def __call__(self, canvas: Canvas, *, dice: Dice) -> None: ...


def alike(painter: Painter, look: int) -> Painter:
    """The painter with its look fixed by the number `look`: the lamps of one street are alike."""

    def paint(canvas: Canvas, *, dice: Dice) -> None:
        painter(canvas, dice=Dice(look))

    return paint


class Stage:
    """Collects painters with their distance. `clear` is the z before which nothing is placed at random."""

    def __init__(self, plan: ScenePlan, dice: Dice, clear: float) -> None:
        self.plan, self.dice, self.clear = plan, dice, clear
        self._behind: list[tuple[float, int, Painter, Dice]] = []
        self._street: list[tuple[float, int, Painter, Dice]] = []
        self._taken: list[tuple[float, float, float, float]] = []

    def put(self, z: float, painter: Painter, behind: bool = False) -> None:
        """Add a painter. `behind`: it lines the street or stands beyond, so the street hides it."""
        queue = self._behind if behind else self._street
        # the running number keeps the order of equal distances fixed
        queue.append((-z, len(queue), painter, self.dice.child()))

    def free(self, x: float, z: float, wide: float, deep: float) -> bool:
        """Claim a rectangle of ground (half sizes); False if something stands there."""
        for tx, tz, tw, td in self._taken:
            if abs(tx - x) < tw + wide and abs(tz - z) < td + deep:
                return False
        self._taken.append((x, z, wide, deep))
        return True

    def on_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether z lies in the opening of the crossing street."""
        crossing = self.plan.road.crossing
        return crossing is not None and crossing[0] - margin < z < crossing[1] + margin

    def paint(self, canvas: Canvas) -> None:
        for queue in (self._behind, self._street):
            for _, _, painter, dice in sorted(queue, key=lambda entry: entry[:2]):
                painter(canvas, dice=dice)
