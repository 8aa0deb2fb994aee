"""What pictures say, and a text that must do no harm in them."""

from __future__ import annotations

from xml.etree import ElementTree

from dynroute_suite.figures.style import Picture

NASTY = "<script>alert(1)</script> $x_1$ & --> -- 'q'"


def words(shown: Picture) -> str:
    """Every text of a picture, in the order of drawing."""
    return " ".join(ElementTree.fromstring(shown.svg).itertext())
