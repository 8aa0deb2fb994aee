"""Texts of the repository as parts of the book: their pictures stand in the page."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from dynroute_core.system.errors import UsageError
from dynroute_suite.book.pages import texts
from dynroute_suite.figures.style import shown_in_page, standalone, svg_picture
from dynroute_suite.figures.svg import text

PICTURE = svg_picture(text(5, 15, "up"), width=40, height=20, alt='A line that goes <up>, "so" it seems.')


def test_a_picture_comes_back_from_its_file() -> None:
    file = standalone(PICTURE)
    root = ElementTree.fromstring(file)
    assert root.attrib["role"] == "img" and "aria-hidden" not in root.attrib
    assert root[0].tag.endswith("title") and root[0].text == PICTURE.alt
    assert "prefers-color-scheme" in file
    assert shown_in_page(file) == PICTURE


def test_a_text_shows_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "ROOT", tmp_path)
    (tmp_path / "one.svg").write_text(standalone(PICTURE))
    shown = texts._with_figures("Before.\n\n![words](one.svg)\n\nAfter.")
    assert PICTURE.html in shown and "one.svg" not in shown
    assert shown.startswith("Before.\n\n```{raw} html\n") and shown.endswith("\n```\n\nAfter.")


def test_pictures_that_cannot_be_shown_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "ROOT", tmp_path)
    with pytest.raises(UsageError, match=r"gone\.svg"):
        texts._with_figures("![words](gone.svg)")
    (tmp_path / "foreign.svg").write_text("<svg/>")
    with pytest.raises(UsageError, match="standalone"):
        texts._with_figures("![words](foreign.svg)")
