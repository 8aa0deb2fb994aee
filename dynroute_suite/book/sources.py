"""Pages that show the modules which other pages point to, with line numbers, a heading per definition.

A page is made for each `/source/NAME.md` that some staged page or fragment links to; a link to a definition that is no
longer there has no target, and jupyter-book refuses it.
"""

from __future__ import annotations

import re
from pathlib import Path

from dynroute_core.system.errors import UsageError
from dynroute_core.system.files import visible
from dynroute_suite.book.code import PACKAGES, page_name, places, source_path
from dynroute_suite.report.markup import block
from dynroute_suite.report.results import ROOT

_LINK = re.compile(r"\(/source/([a-z0-9-]+)\.md")


def write_source_pages(source: Path) -> None:
    """Writes the pages that the Markdown under `source` links to. Raises UsageError for a module that is not there."""
    wanted = {name for path in visible(source, "**/*.md") for name in _LINK.findall(path.read_text(encoding="utf-8"))}
    wanted |= {
        name for path in visible(source, "**/*.ipynb") for name in _LINK.findall(path.read_text(encoding="utf-8"))
    }
    parts = [
        path.relative_to(ROOT / package).with_suffix("").as_posix()
        for package in PACKAGES
        for path in visible(ROOT / package, "**/*.py")
    ]
    modules = {page_name(part): part for part in parts}
    folder = source / "source"
    folder.mkdir(exist_ok=True)
    for name in sorted(wanted):
        if name not in modules:
            raise UsageError(
                f"a page links to /source/{name}.md, and no module of {' or '.join(PACKAGES)} has that name."
            )
        page, text = folder / f"{name}.md", source_page(modules[name])
        if not page.is_file() or page.read_text(encoding="utf-8") != text:  # an untouched one is not built again
            page.write_text(text, encoding="utf-8")


def source_page(module: str) -> str:
    """A module's page in Markdown: its lines in order, cut where a top-level definition begins."""
    path = source_path(module)
    lines = path.read_text(encoding="utf-8").splitlines()
    outer = {place.first: place for place in places(module) if place.name == place.outer}
    starts = sorted({1, *outer})
    parts = [f"# {path.relative_to(ROOT).as_posix()}"]
    for first, after in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        last = after - 1
        while last > first and not lines[last - 1].strip():
            last -= 1
        if first in outer:
            parts.append(f"## `{outer[first].name}`")
        code = "\n".join(lines[first - 1 : last])
        parts.append(block(f":linenos:\n:lineno-start: {first}\n\n{code}", "{code-block} python"))
    return "\n\n".join(parts) + "\n"
