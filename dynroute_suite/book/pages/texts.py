"""Fragments that are texts of the repository: the README's data, the log, the changelog. Each has one home."""

from __future__ import annotations

import re

from dynroute_core.system.errors import UsageError
from dynroute_suite.figures.style import figure_block, shown_in_page
from dynroute_suite.report.results import ROOT


def readme_data() -> str:
    return _section("Data")


def log() -> str:
    return _with_figures(_without_heading("LOG.md"))


def changelog() -> str:
    return _without_heading("CHANGELOG.md")


def kernels_cpu() -> str:
    return _part("kernels/README.md")


def kernels_cuda() -> str:
    return _part("kernels/csrc/cuda/README.md")


def training_step() -> str:
    return _without_heading("kernels/csrc/cpu/training/README.md")


def _section(heading: str) -> str:
    """A section of the README without its heading. Raises UsageError where the README has no such section."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"(?m)^(#+) {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.DOTALL)
    if found is None:
        raise UsageError(f"README.md has no section {heading!r}, which the book shows: rename it in both places.")
    return found[2].strip()


def _without_heading(name: str) -> str:
    """A text of the repository without its first heading."""
    text = (ROOT / name).read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    return rest if first.startswith("# ") else text


def _part(name: str) -> str:
    """A text of the repository as part of a page: headings a level lower, and of links to files only the words."""
    text = re.sub(r"(?m)^## ", "### ", _without_heading(name))
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)


def _with_figures(text: str) -> str:
    """A text whose pictures, SVG files that `style.standalone` wrote, stand in the page itself, in the page's colours.

    Raises UsageError for a picture that is not there or is none of those.
    """

    def inline(match: re.Match[str]) -> str:
        path = ROOT / match[2]
        if not path.is_file():
            raise UsageError(f"{match[2]} is shown in a text of the repository, but there is no such file.")
        return figure_block(shown_in_page(path.read_text(encoding="utf-8")))

    return re.sub(r"(?m)^!\[([^\]]*)\]\(([^)]+\.svg)\)$", inline, text)
