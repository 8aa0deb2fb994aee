"""What would stay open of a recorded route if the gates closed more readily, and what that would cost.

Takes recorded factors; gives a route again, so that `flow` can cost and the diagrams can draw it. Runs no network: a
real network with another threshold would send other maps onward, and its later gates would answer differently. The
explorer of the book does the same in the browser; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import replace

from dynroute_core.runs.record import ImageRoute
from dynroute_core.space import INITIAL, OPEN_THRESHOLD, Cell, RoutingSpace


def at_threshold(image: ImageRoute, space: RoutingSpace, threshold: float) -> ImageRoute:
    """The route with every path closed whose factor is at most `threshold`; 0 leaves it as it was recorded.

    A cell without an open path is closed: it passes its input on. A cell that nothing reaches any more is dead. Raises
    ValueError for a threshold outside 0..1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: factors lie from 0 to 1, so give a threshold in that range.")
    least = max(threshold, OPEN_THRESHOLD)
    reached = {INITIAL}
    states = ""
    factors: list[float] = []
    first = 0
    for index, cell in enumerate(space.cells):
        paths = space.paths(cell)
        recorded = image.factors[first : first + len(paths)]
        first += len(paths)
        left = tuple(factor if factor > least else 0.0 for factor in recorded)
        state = _state(image.states[index], cell in reached, any(left) or threshold == 0)
        states += state
        factors += left if state == "o" else [float(state == "c" and path == "keep") for path in paths]
        reached |= _reached_from(cell, state, space)
    return replace(image, states=states, factors=tuple(factors))


def _state(recorded: str, reached: bool, still_open: bool) -> str:
    if not reached:
        return "d"
    return "o" if recorded == "o" and still_open else "c"


def _reached_from(cell: Cell, state: str, space: RoutingSpace) -> set[Cell]:
    """An open cell reaches every target, be it with zeros; a closed one only its keep's; a dead one none."""
    sending = [path for path in space.paths(cell) if state == "o" or (state == "c" and path == "keep")]
    return {target for path in sending if (target := space.target(cell, path)) is not None}
