"""What an explorer's network does, in numbers: its cost along each route it can be sent, the factors of its gates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dynroute_suite.explore.session import Explorer
from dynroute_suite.report.numbers import macs_text, share_text
from dynroute_suite.report.tables import markdown_table


def route_table(explorer: Explorer, index: int = 0) -> str:
    """Every named route that fits the network, run with one picture: paths and cells open, and the cost."""
    lines = []
    for name in explorer.route_names:
        view = explorer.view(index, route=name)
        opened = sum(share > 0 for share in view.flow.open_paths.values())
        cells = sum(share > 0 for share in view.flow.opened.values())
        lines.append(
            [name, str(opened), str(cells), macs_text(view.macs), share_text(view.macs / view.flow.table.all_open)]
        )
    return markdown_table(["route", "paths open", "cells open", "cost", "of all open"], lines)


def factors_of(explorer: Explorer) -> npt.NDArray[np.float64]:
    """The factors of all paths for all pictures; closed paths are 0."""
    views = (explorer.view(index) for index in range(len(explorer.pictures.names)))
    return np.array([factor for view in views for factor in view.flow.factors.values()])
