"""The table of contents: every entry has a file, every page has an entry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from dynroute_core.system.errors import UsageError
from dynroute_core.system.files import visible

TOC = "_toc.yml"
PAGE_ENDS = (".md", ".ipynb")
DATA = "records"


def check_toc(source: Path, *, draft: bool = False) -> None:
    """Holds `_toc.yml` to the pages beside it. Raises UsageError for entries without a file and pages without an entry.

    draft: pages without an entry get one, under a heading of their own, so that a chapter can be read before it has
    its place.
    """
    toc = yaml.safe_load((source / TOC).read_text(encoding="utf-8"))
    listed = list(_files(toc))
    absent = [name for name in listed if not any((source / f"{name}{end}").is_file() for end in PAGE_ENDS)]
    if absent:
        raise UsageError(
            f"{TOC} lists pages that are not there: {', '.join(absent)}. "
            f"Write book/{absent[0]}.md, or take the line out."
        )
    globs = list(_values(toc, "glob"))
    covered = set(listed) | {name for pattern in globs for name in pages(source) if Path(name).match(pattern)}
    stray = [name for name in pages(source) if name not in covered]
    if not stray:
        return
    if not draft:
        raise UsageError(
            f"no entry in book/{TOC} leads to {', '.join(stray)}. Add `- file: {stray[0]}` where it belongs "
            "(or build with --draft to see it at the end)."
        )
    toc["parts"].append({"caption": "Drafts", "chapters": [{"file": name} for name in stray]})
    (source / TOC).write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")


def pages(source: Path) -> list[str]:
    """Every page's name, as `_toc.yml` writes it; a failed run's notebook among the records is no page."""
    found = (path.relative_to(source) for path in visible(source, "**/*") if path.suffix in PAGE_ENDS)
    return sorted(
        path.with_suffix("").as_posix() for path in found if not path.parts[0].startswith("_") and path.parts[0] != DATA
    )


def _files(toc: object) -> Iterator[str]:
    yield from _values(toc, "root")
    yield from _values(toc, "file")


def _values(toc: object, key: str) -> Iterator[str]:
    if isinstance(toc, dict):
        for name, value in toc.items():
            if name == key:
                yield str(value)
            else:
                yield from _values(value, key)
    elif isinstance(toc, list):
        for item in toc:
            yield from _values(item, key)
