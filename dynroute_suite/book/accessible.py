"""A Sphinx extension that names what the theme leaves unnamed: the toggles of the sidebar's chapters.

Takes the built pages; gives the same pages. A screen reader announces such a toggle by the chapter it opens.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

_TOGGLE = re.compile(
    r"(<a [^>]*>)((?:(?!</a>).)*)(</a>\s*<details[^>]*>\s*)<summary>(?=<span class=\"toctree-toggle\")", re.S
)
_TAG = re.compile(r"<[^>]+>")


def named(page: str) -> str:
    """The page with a name for every toggle: `Pages of CHAPTER`, after the link before it."""

    def name(match: re.Match[str]) -> str:
        chapter = " ".join(_TAG.sub("", match[2]).split()).replace('"', "&quot;")
        return f'{match[1]}{match[2]}{match[3]}<summary aria-label="Pages of {chapter}">'

    return _TOGGLE.sub(name, page)


def name_toggles(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if (changed := named(page)) != page:
            path.write_text(changed, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.connect("build-finished", name_toggles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
