"""The lowest versions that pyproject.toml allows, and the tests that need nothing beside the core: `make test-minimal`.

    python tools/minimal.py requirements    # what pip is to install, one a line
    python tools/minimal.py tests           # the test files, one a line

A test file is of the core where nothing that it imports, through our modules too, is beside the core's dependencies.
Single tests of such a file that need more carry the mark `suite`.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNNERS = ("pytest", "pytest-xdist", "hypothesis")
IMPORT_NAMES = {"opencv-python": "cv2", "pillow": "PIL", "pytest-xdist": "xdist"}
OURS = {
    "dynroute_core": ROOT / "dynroute_core",
    "dynroute_suite": ROOT / "dynroute_suite",
    "dynroute_kernels": ROOT / "kernels",
    "support": ROOT / "tests" / "support",
}


def core_bounds() -> dict[str, str]:
    """Package → lower bound, of the core and of what runs its tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    bounds = {}
    for place, entry in enumerate(wanted):
        found = re.fullmatch(r"([\w.-]+)>=([\w.]+)(,<[\w.]+)?", entry)
        if place < len(project["dependencies"]) or (found and found[1] in RUNNERS):
            if found is None:
                raise SystemExit(f"pyproject.toml: {entry!r} has no lower bound. Give name>=version.")
            bounds[found[1]] = found[2]
    return bounds


def requirement(name: str, bound: str) -> str:
    """The first release from a bound on: `numpy>=2.0` means 2.0.0, `opencv-python>=4.11` 4.11.0.86."""
    parts = [*bound.split("."), "0", "0"]
    return f"{name}=={'.'.join(parts[: max(3, len(parts) - 2)])}.*"


def core_tests() -> list[Path]:
    names = {IMPORT_NAMES.get(name, name) for name in core_bounds()}
    allowed = names | set(sys.stdlib_module_names) | {"__future__"}
    return [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if not foreign(path) - allowed]


def foreign(path: Path) -> set[str]:
    """The packages of others that a file imports when it is loaded, through our modules too."""
    found: set[str] = set()
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        for name in _imports(ast.parse(here.read_text()).body):
            ours = _files(name)
            waiting += ours
            if not ours:
                found.add(name.partition(".")[0])
    return found


def _imports(body: list[ast.stmt]) -> Iterator[str]:
    """The modules that statements import at once: not in functions, nor for the type checker alone."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if _files(f"{node.module}.{alias.name}"))
        elif isinstance(node, ast.Try | ast.With | ast.ClassDef):
            yield from _imports(node.body)


def _files(name: str) -> list[Path]:
    """Our files that an import loads: the module and the packages around it; none for other people's."""
    first, *rest = name.split(".")
    if first in OURS:
        folders = [OURS[first].joinpath(*rest[:depth]) for depth in range(len(rest) + 1)]
        candidates = [folder / "__init__.py" for folder in folders] + [folders[-1].with_suffix(".py")]
    else:
        candidates = [ROOT / "benchmarks" / f"{name}.py", ROOT / f"{name}.py"]
    return [path for path in candidates if path.is_file()]


def main() -> int:
    if sys.argv[1:] == ["requirements"]:
        lines = [requirement(name, bound) for name, bound in core_bounds().items()]
    elif sys.argv[1:] == ["tests"]:
        lines = [path.relative_to(ROOT).as_posix() for path in core_tests()]
    else:
        print("usage: minimal.py requirements|tests", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
