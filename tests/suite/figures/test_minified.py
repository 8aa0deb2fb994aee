"""Minified SVG draws the same: what is taken out says nothing, and text is left alone."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from dynroute_suite.figures.minified import minified
from dynroute_suite.figures.style import picture

ROUNDED = 0.005  # half a hundredth of a unit


def drawn(body: str) -> str:
    return minified(f"<svg>{body}</svg>").removeprefix("<svg>").removesuffix("</svg>")


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ('<path d="M 1.23456 2 \nL 3 4 \nL 5 6 \nz"/>', '<path d="M1.23 2 3 4 5 6z"/>'),
        ('<path d="M 0 0 L 1 1 C 2 2 3 3 4 4 L 5 5"/>', '<path d="M0 0 1 1C2 2 3 3 4 4L5 5"/>'),
        ('<g><text style="font-family: inherit; fill: red">a</text></g>', '<text style="fill:red">a</text>'),
        ('<g class="k"><g>\n<use x="1"/>\n</g></g>', '<g class="k">\n<use x="1"/>\n</g>'),
        ('<text transform="rotate(-0 1.5 2.5)">a</text>', "<text>a</text>"),
        ('<path d="M0 0L1 1" style="fill: none"/>', ""),
    ],
)
def test_what_says_nothing_goes(long: str, short: str) -> None:
    assert drawn(long) == short


@pytest.mark.parametrize("text", ["0.123456", 'd="M 1 2"', 'a style="x: y"', "two  spaces"])
def test_text_is_left_alone(text: str) -> None:
    assert drawn(f"<text>{text}</text>") == f"<text>{text}</text>"


def test_a_figure_keeps_its_lines_where_they_were() -> None:
    """Every coordinate of a polyline is what matplotlib draws, to the last digit that is kept."""
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    (line,) = ax.plot([0.0, 0.37, 0.9], [0.2, 0.81, 0.4], gid="watched", color="#123456")
    root = ElementTree.fromstring(picture(figure, alt="three points").svg)
    wanted = ax.transData.transform(line.get_xydata()) * 72 / figure.dpi
    wanted[:, 1] = 3 * 72 - wanted[:, 1]
    (course,) = [one.get("d", "") for one in root.iter() if "#123456" in one.get("style", "")]
    numbers = [float(each) for each in re.findall(r"-?[0-9.]+", course)]
    assert numbers == pytest.approx(wanted.ravel().tolist(), abs=ROUNDED + 1e-6)
