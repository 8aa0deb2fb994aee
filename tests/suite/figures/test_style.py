"""Pictures: none without words, and each fit for a page."""

from __future__ import annotations

import re
from html import unescape

import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from dynroute_core.experiments import ROWS
from dynroute_suite.figures.style import ROW_COLORS, ROW_LABELS, Picture, figure_style, picture
from support.pictures import NASTY, words


def test_a_picture_needs_words() -> None:
    with pytest.raises(ValueError, match="text alternative"):
        Picture("<svg/>", "  ")
    with pytest.raises(ValueError, match="text alternative"):
        picture(Figure(), alt="")


def test_a_picture_is_fit_for_a_page() -> None:
    with figure_style():
        figure = pyplot.figure()
        ax = figure.subplots()
        ax.plot([0, 1], [0, 1], color="#000000", label=NASTY, clip_on=True)
        ax.legend()
    shown = picture(figure, alt=NASTY)
    assert not pyplot.get_fignums(), "the figure is closed"
    assert "<script" not in shown.html
    assert NASTY in words(shown)
    assert unescape(re.findall(r'aria-label="([^"]*)"', shown.html)[0]) == NASTY
    for unwanted in ("<?xml", "<!DOCTYPE", "<metadata", "<style", "<!--", "#000000", "DejaVu Sans'"):
        assert unwanted not in shown.svg
    bundle = shown._repr_mimebundle_()
    assert bundle == {"text/html": shown.html, "text/plain": NASTY}


def test_every_row_has_a_name_and_a_colour_of_its_own() -> None:
    assert set(ROW_COLORS) == set(ROW_LABELS) == set(ROWS)
    assert len(set(ROW_COLORS.values())) == len(ROW_COLORS)
