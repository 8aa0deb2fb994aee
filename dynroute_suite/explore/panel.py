"""An explorer on the screen: controls that change the picture, the threshold or the route, and what comes out of it.

ipywidgets, for JupyterLab; the only module that imports them. What is shown is the book's own figure.
"""

from __future__ import annotations

import numpy as np
from ipywidgets import HTML, Dropdown, FloatSlider, HBox, Layout, VBox
from PIL import Image

from dynroute_core.data.labels import IGNORE
from dynroute_core.system.errors import DynrouteError
from dynroute_suite.explore.session import GATES, Explorer, View
from dynroute_suite.figures.examples import Scene, scene_figure
from dynroute_suite.figures.style import Picture
from dynroute_suite.report.numbers import macs_of, percent, share_text, significant

WIDE = {"description_width": "7em"}


class Panel:
    """Controls and outcome of an explorer. `widget` is what to display; `view` and `picture` are what it shows now.

    image, threshold, route: the controls; setting their values does what a hand would do. figure, words: what is shown.
    """

    def __init__(self, explorer: Explorer, *, repeats: int = 3) -> None:
        self.explorer, self.repeats = explorer, repeats
        full = Layout(width="100%")
        self.image = Dropdown(
            options=[(name, index) for index, name in enumerate(explorer.pictures.names)],
            description="picture",
            style=WIDE,
            layout=full,
        )
        self.threshold = FloatSlider(
            min=0, max=1, step=0.01, description="threshold", continuous_update=False, style=WIDE, layout=full
        )
        self.route = Dropdown(options=explorer.route_names, description="route", style=WIDE, layout=full)
        self.words, self.figure = HTML(), HTML()
        self.widget = VBox([HBox([self.image, self.route]), self.threshold, self.words, self.figure])
        for control in (self.image, self.threshold, self.route):
            control.observe(self._update, names="value")
        self.view: View
        self.picture: Picture
        self.show()

    def show(self) -> None:
        """Runs the network for what the controls say, and shows what came out. Errors for users become words."""
        self.threshold.disabled = self.route.value != GATES
        try:
            self.view = self.explorer.view(
                self.image.value, threshold=self.threshold.value, route=self.route.value, repeats=self.repeats
            )
        except DynrouteError as error:
            self.words.value = f'<p role="alert">{error}</p>'
            return
        self.picture = view_figure(self.explorer, self.view)
        self.figure.value = self.picture.html
        self.words.value = f"<p>{summary(self.explorer, self.view)}</p>"

    def _update(self, _: object) -> None:
        self.show()


def summary(explorer: Explorer, view: View) -> str:
    """Cost, time and quality in a sentence, with what they hold for."""
    settings, all_open = explorer.experiment.evaluate, view.flow.table.all_open
    height, width = view.labels.shape
    words = [
        f"{macs_of(view.macs, all_open)} at {settings.nominal_height}×{settings.nominal_width} "
        f"({share_text(view.macs / all_open)} of all open)",
        f"{significant(view.milliseconds)} ms for this picture of {height}×{width} on {explorer.device}",
        f"{share_text(view.flow.open_share())} of paths open",
    ]
    if view.miou_percent is not None:
        words.append(f"mIoU of the picture {percent(view.miou_percent)} %")
    note = "" if explorer.trained else " The network is untrained: its labels mean nothing, its costs are real."
    return "; ".join(words) + "." + note


def view_figure(explorer: Explorer, view: View) -> Picture:
    """Picture, truth where it is known, prediction and errors over the route."""
    known = not bool((view.sample.label == IGNORE).all())
    scene = Scene(
        Image.fromarray(np.ascontiguousarray(view.sample.image[..., ::-1])),
        view.sample.label if known else None,
        view.labels,
        explorer.classes,
    )
    caption = f"{view.sample.name}: {macs_of(view.macs, view.flow.table.all_open)}"
    return scene_figure(scene, view.flow, caption=caption, alt=f"{view.sample.name}: {{tiles}}.")
