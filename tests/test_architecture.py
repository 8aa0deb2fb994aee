"""The walls between the rooms of the house, by path, held to the source: who may import whom."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

import dynroute_core

ROOT = Path(__file__).parents[1]
FACES = ("dynroute_core", "dynroute_suite", "dynroute_kernels")  # packages' own names, open to all who may see them
PACKAGES = {"dynroute_core": "dynroute_core", "dynroute_suite": "dynroute_suite", "dynroute_kernels": "kernels"}
CORE = ("core/system", "core/data", "core", "core/engine", "core/weights", "core/runs")

# Room → the rooms that it may import beside itself. A room is a folder of a package; "core" is the top of the core.
WALLS: dict[str, tuple[str, ...]] = {
    "kernels": (),
    "core/system": (),
    "core/data": ("core/system",),
    "core": ("core/system", "core/data"),
    "core/engine": ("core/system", "core", "kernels"),
    "core/weights": ("core/system", "core"),
    "core/runs": CORE,
    "suite/report": CORE,
    "suite/figures": (*CORE, "suite/report"),
    "suite/notebook": CORE,
    "suite/workers": ("core/system", "core", "core/runs", "suite/notebook"),
    "suite/command": (*CORE, "suite/notebook", "suite/report", "suite/figures"),
    "suite/cluster": ("core/system", "core", "core/runs", "suite/notebook", "suite/command"),
    "suite/status": (
        "core/system",
        "core",
        "core/runs",
        "suite/notebook",
        "suite/command",
        "suite/cluster",
        "suite/report",
    ),
    "suite/book": (*CORE, "suite/report", "suite/figures", "suite/notebook"),
    "suite/explore": (*CORE, "suite/report", "suite/figures"),
    "notebooks": (
        *CORE,
        "suite/notebook",
        "suite/workers",
        "suite/report",
        "suite/figures",
        "suite/explore",
    ),
    "suite/pretraining": ("core/system", "core/data", "core", "core/weights", "core/runs"),
}
SOURCES = sorted(path for folder in PACKAGES.values() for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = next(package for package, folder in PACKAGES.items() if folder == parts[0])
    return ".".join([package, *(part for part in parts[1:] if part != "__init__")])


MODULES = {module_of(path): path for path in SOURCES}


def room(module: str) -> str:
    """The room that a module stands in."""
    package, *inner = module.split(".")
    if package == "notebooks":
        return package
    if package == "dynroute_kernels":
        return "kernels"
    short = package.removeprefix("dynroute_")
    is_folder = MODULES[module].name == "__init__.py" if module in MODULES else False
    return f"{short}/{inner[0]}" if len(inner) > 1 or (inner and is_folder) else short


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module of ours that a file imports, wherever in the file; for the type checker alone counts too."""
    return imports_of(path.read_text())


def imports_of(source: str) -> frozenset[str]:
    """Every module of ours that Python source imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{ast.unparse(node)}: imports of ours are absolute"
            module = node.module or ""
            found |= {whole if (whole := f"{module}.{alias.name}") in MODULES else module for alias in node.names}
    return frozenset(name for name in found if name.partition(".")[0] in PACKAGES)


def violations(module: str, imported: frozenset[str]) -> list[str]:
    """The imports that would go through a wall."""
    here = room(module)
    return [
        f"{module} ({here}) imports {there} ({room(there)})"
        for there in sorted(imported)
        if room(there) not in (here, *WALLS.get(here, ())) and there not in FACES
    ]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_keep_to_the_walls(module: str) -> None:
    assert module in FACES or room(module) in WALLS, f"{room(module)} has no line in WALLS"
    assert module in FACES or not violations(module, imports(MODULES[module]))


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("dynroute_core.space", "dynroute_core.runs.record"),
        ("dynroute_core.system.errors", "dynroute_core.cell"),
        ("dynroute_core.train", "dynroute_suite.report.seeds"),
        ("dynroute_core.runs.record", "dynroute_suite.report.seeds"),
        ("dynroute_core.evaluate", "dynroute_core.engine.inference"),
        ("dynroute_suite.report.seeds", "dynroute_suite.figures.style"),
        ("dynroute_kernels.cache", "dynroute_core.space"),
        ("notebooks", "dynroute_suite.book.pages.cost"),
    ],
)
def test_the_walls_can_be_hit(module: str, imported: str) -> None:
    assert violations(module, frozenset([imported]))


def imports_of_notebook(path: Path) -> frozenset[str]:
    """Every module of ours that a notebook's cells import."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return imports_of("\n".join("".join(cell["source"]) for cell in cells))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_show_what_report_and_figures_give(path: Path) -> None:
    assert not violations("notebooks", imports_of_notebook(path))


def circle(graph: dict[str, frozenset[str]]) -> list[str]:
    """One circle of imports, or none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        for there in sorted(graph.get(module, ())):
            if there != module and (found := visit(there)):
                return found
        path.pop()
        done.add(module)
        return []

    for module in graph:
        if found := visit(module):
            return found
    return []


def test_no_circle_of_imports() -> None:
    graph = {module: imports(path) for module, path in MODULES.items() if path.name != "__init__.py"}
    assert not circle(graph)


def test_a_circle_would_be_found() -> None:
    assert circle({"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("a")}) == ["a", "b", "c", "a"]
    assert not circle({"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()})


def test_no_test_file_imports_another() -> None:
    importers = {}
    for path in (ROOT / "tests").rglob("*.py"):
        names = [
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        if found := [name for name in names if re.search(r"(^|\.)(test_\w+|conftest)$", name)]:
            importers[path.name] = found
    assert not importers


def test_every_public_name_is_there() -> None:
    assert [name for name in dynroute_core.__all__ if not hasattr(dynroute_core, name)] == []


def test_the_core_needs_no_jupyter() -> None:
    """Importing the core pulls in neither papermill nor Jupyter nor plotting, nor the suite."""
    code = (
        "import sys, dynroute_core, dynroute_core.runs.pipeline\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('papermill', 'nbclient', 'nbformat', 'jupyter_client', "
        "'IPython', 'ipywidgets', 'matplotlib', 'pandas', 'dynroute_suite')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"


def test_names_of_the_original_stay_in_one_file() -> None:
    there = re.compile(r"all_cell_list|gate_conv_beta|layer_decoder_list|sem_seg_head")
    holders = [path.name for path in SOURCES if there.search(path.read_text())]
    assert holders == ["released_names.py"]


def test_no_file_outgrows_one_sitting() -> None:
    long = {path.name: n for path in SOURCES if (n := len(path.read_text().splitlines())) > 360}
    assert not long


def test_every_package_is_installed() -> None:
    """pyproject.toml lists every folder with sources, so that an installed package lacks none."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert {module for module, path in MODULES.items() if path.name == "__init__.py"} <= listed
    kernels = ROOT / "kernels"
    sources = {
        path.parent.relative_to(kernels) for kind in ("cpp", "h", "cu", "cuh") for path in kernels.rglob(f"*.{kind}")
    }
    assert {".".join(["dynroute_kernels", *folder.parts]) for folder in sources} <= listed


def test_dependencies_of_conda_and_pip_agree() -> None:
    """environment.yml lists exactly the packages and bounds of pyproject.toml, by conda-forge's names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = set(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted |= set(extra)
    *conda, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_name = {re.split(r"[<>=]", entry)[0]: entry for entry in conda}
    assert by_name.pop("python") == f"python{project['requires-python']}" and by_name.pop("pip")
    # There, `playwright` is the package for Node.js, `opencv` all of OpenCV with its Python module.
    theirs = {"torch": "pytorch", "opencv-python": "opencv", "playwright": "playwright-python"}
    assert not theirs.keys() & by_name.keys()
    ours = {name: pip for pip, name in theirs.items()}
    found = {ours.get(name, name) + entry.removeprefix(name) for name, entry in by_name.items()}
    assert found | set(by_pip["pip"]) == wanted and not found & set(by_pip["pip"])
