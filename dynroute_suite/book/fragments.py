"""Finds every fragment of `dynroute_suite/book/pages` and writes it where pages include it from.

A fragment gives MyST Markdown from the sources, and from the results where it asks for them: every public function of
`pages/X.py` is `_generated/X/NAME.md`. It has no parameter, or one called `results`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path

from dynroute_suite.book import pages
from dynroute_suite.report.results import Results

GENERATED = "_generated"

Fragment = Callable[..., str]


def fragments() -> dict[str, Fragment]:
    """Every fragment by its name, `X/NAME`."""
    found: dict[str, Fragment] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(pages.__path__)):
        module = importlib.import_module(f"{pages.__name__}.{name}")
        for own, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not own.startswith("_"):
                found[f"{name}/{own}"] = function
    return found


def text_of(fragment: Fragment, results: Results) -> str:
    """What a fragment says of some results."""
    wanted = tuple(inspect.signature(fragment).parameters)
    assert wanted in ((), ("results",)), f"{fragment.__name__} asks for {', '.join(wanted)}: a fragment may for results"
    return fragment(results) if wanted else fragment()


def write_fragments(folder: Path, chosen: Mapping[str, Fragment], results: Results) -> None:
    """Writes `folder/X/NAME.md` for each. Raises RuntimeError naming the fragment whose function raised."""
    for name, fragment in chosen.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            text = text_of(fragment, results)
        except Exception as error:
            raise RuntimeError(f"the fragment {name!r} of the book failed: {type(error).__name__}: {error}") from error
        path.write_text(text.rstrip() + "\n", encoding="utf-8")
