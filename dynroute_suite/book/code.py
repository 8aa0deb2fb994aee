"""Where a name is defined: the file, the lines, and the page of the book that shows them. Found anew on every build."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dynroute_core.system.errors import UsageError, suggest
from dynroute_suite.report.results import ROOT

PACKAGES = ("dynroute_core", "dynroute_suite")


@dataclass(frozen=True)
class Place:
    """A definition. first, last: its lines, from 1, decorators included. outer: the top-level name it belongs to."""

    module: str
    name: str
    outer: str
    first: int
    last: int

    @property
    def file(self) -> str:
        return source_path(self.module).relative_to(ROOT).as_posix()

    @property
    def address(self) -> str:
        """Where the book shows it."""
        return f"/source/{page_name(self.module)}.md#{anchor(self.outer)}"


def page_name(module: str) -> str:
    """The name of a module's page: `data-streets`."""
    return module.replace("/", "-").replace("_", "-")


def anchor(outer: str) -> str:
    """The anchor that MyST gives the heading of a definition."""
    return outer.lower()


def find(symbol: str) -> Place:
    """The place of `module:name` or `module:Class.method`, such as `cost:CostTable.all_open`.

    Raises UsageError naming what there is, for a module or a name that is not there.
    """
    module, _, name = symbol.partition(":")
    known = {place.name: place for place in places(module)}
    if name not in known:
        raise suggest(f"name in {source_path(module).relative_to(ROOT)}", name, known)
    return known[name]


def link(symbol: str) -> str:
    """A link to a definition, with the lines it has now: `cost.py, lines 98–104`."""
    place = find(symbol)
    lines = f"line {place.first}" if place.first == place.last else f"lines {place.first}–{place.last}"
    return f"[`{place.name}`, {place.module}.py {lines}]({place.address})"


@lru_cache(maxsize=64)
def places(module: str) -> tuple[Place, ...]:
    """Every function, class, method and named value of a module."""
    tree = ast.parse(source_path(module).read_text(encoding="utf-8"))
    found = []
    for node in tree.body:
        for name in _names(node):
            found.append(Place(module, name, name, _first(node), node.end_lineno or node.lineno))
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    for part in _names(inner):
                        last = inner.end_lineno or inner.lineno
                        found.append(Place(module, f"{name}.{part}", name, _first(inner), last))
    return tuple(found)


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def _first(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def source_path(module: str) -> Path:
    """A module's file: `cost` and `runs/record` are of the core, `report/bootstrap` of the suite.

    Raises UsageError where neither has it.
    """
    for package in PACKAGES:
        path = ROOT / package / f"{module}.py"
        if path.is_file():
            return path
    raise UsageError(
        f"there is no {module}.py in {' or '.join(PACKAGES)}. Give module:name, such as runs/record:Record."
    )
