"""Finds every fragment of `dynroute_suite/book/pages` and writes it where pages include it from.

A fragment is a function without arguments that gives MyST Markdown from the sources and `results/` alone. A module
lists its own in `FRAGMENTS`; nothing is registered by importing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path

from dynroute_core.system.errors import UsageError
from dynroute_suite.book import pages

GENERATED = "_generated"

Fragment = Callable[[], str]


def fragments() -> dict[str, Fragment]:
    """Every fragment by its name. Raises UsageError where two modules give one name."""
    found: dict[str, Fragment] = {}
    home: dict[str, str] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(pages.__path__)):
        listed: Mapping[str, Fragment] = importlib.import_module(f"{pages.__name__}.{module}").FRAGMENTS
        for name, fragment in listed.items():
            if name in found:
                raise UsageError(f"the fragment {name!r} is in {home[name]} and in {module}: rename one of them.")
            found[name], home[name] = fragment, module
    return found


def write_fragments(folder: Path, chosen: Mapping[str, Fragment]) -> None:
    """Writes `folder/NAME.md` for each. Raises RuntimeError naming the fragment whose function raised."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, fragment in chosen.items():
        try:
            text = fragment()
        except Exception as error:
            raise RuntimeError(f"the fragment {name!r} of the book failed: {type(error).__name__}: {error}") from error
        (folder / f"{name}.md").write_text(text.rstrip() + "\n", encoding="utf-8")
