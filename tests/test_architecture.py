"""Imports go downwards only: the table of the README's architecture section, held to the source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Level by module; within a level only the listed imports are allowed (importer → imported).
LEVELS = {
    "space": 0,
    "published": 0,
    "profiles": 0,
    "marks": 0,
    "reading": 0,
    "record": 0,
    "runtime": 0,
    "settings": 0,
    "soak_record": 0,
    "speed_record": 0,
    "signals": 0,
    "cost": 1,
    "static_routes": 1,
    "route_files": 2,
    "operations": 2,
    "cell": 2,
    "model": 2,
    "data": 2,
    "losses": 3,
    "metrics": 3,
    "checkpoint": 3,
    "nonfinite": 1,
    "distributed": 3,
    "original": 3,
    "weights": 3,
    "engine": 3,
    "engine_backend": 3,
    "engine_rows": 3,
    "engine_torch": 3,
    "engine_native": 3,
    "engine_cuda": 3,
    "train": 4,
    "evaluate": 4,
    "curve": 4,
    "experiments": 5,
    "common": 6,
    "plan": 6,
    "outcome": 6,
    "attempt": 6,
    "pipeline": 6,
    "export": 6,
    "pretrain": 6,
    "launch": 6,
    "report": 6,
    "book": 7,
    "explore": 6,
}
SIDEWAYS = {
    ("reading", "runtime"),
    ("record", "marks"),
    ("record", "reading"),
    ("record", "runtime"),
    ("settings", "reading"),
    ("settings", "runtime"),
    ("soak_record", "reading"),
    ("speed_record", "reading"),
    ("signals", "runtime"),
    ("cell", "operations"),
    ("model", "cell"),
    ("model", "operations"),
    ("engine", "engine_backend"),
    ("engine", "engine_torch"),
    ("engine_torch", "engine_backend"),
    ("engine_torch", "engine_rows"),
    ("engine_native", "engine_backend"),
    ("engine_cuda", "engine_backend"),
    ("engine_cuda", "engine_native"),
    ("original", "checkpoint"),
    ("weights", "checkpoint"),
    ("weights", "original"),
    ("curve", "train"),
    ("plan", "common"),
    ("attempt", "common"),
    ("attempt", "outcome"),
    ("attempt", "plan"),
    ("pipeline", "attempt"),
    ("pipeline", "common"),
    ("pipeline", "plan"),
    ("export", "pipeline"),
    ("export", "plan"),
    ("launch", "outcome"),
    ("launch", "export"),
    ("launch", "pipeline"),
    ("launch", "plan"),
    ("launch", "report"),
    ("explore", "report"),
}
DATA_LEVELS = {"labels": 0, "dataset": 1, "transforms": 2, "cityscapes": 3, "camvid": 3, "streets": 3, "loader": 4}


def imports(path: Path) -> list[str]:
    """Every module of ours that a file imports at run time, in full, relative imports resolved."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)] if node.level else [module]
    return [name for name in found if name.startswith("dynroute_core.")]


def part(module: str) -> str:
    return module.split(".")[1]


SOURCES = sorted(path for path in (ROOT / "dynroute_core").rglob("*.py") if path.name != "__init__.py")


def violations(here: str, imported: list[str]) -> list[str]:
    """The imports that `here` must not have."""
    return [
        f"{here} (level {LEVELS[here]}) imports {there} (level {LEVELS[there]})"
        for there in {part(module) for module in imported}
        if there in LEVELS and there != here and LEVELS[there] >= LEVELS[here] and (here, there) not in SIDEWAYS
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "dynroute_core").as_posix())
def test_imports_go_downwards(path: Path) -> None:
    here = part(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert here in LEVELS, f"{here} has no level: add it to the table here and in the README"
    assert not violations(here, imports(path))


def test_the_rule_can_fire() -> None:
    assert violations("space", ["dynroute_core.train"])
    assert violations("train", ["dynroute_core.evaluate"])
    assert not violations("train", ["dynroute_core.model"])


def test_data_imports_go_downwards() -> None:
    for path in (ROOT / "dynroute_core" / "data").glob("*.py"):
        here = path.stem.split("_")[0]
        if here not in DATA_LEVELS:
            continue
        for module in imports(path):
            names = module.split(".")
            if names[1] == "data" and len(names) > 2 and (there := names[2].split("_")[0]) in DATA_LEVELS:
                assert there == here or DATA_LEVELS[there] < DATA_LEVELS[here], f"{path.name} imports {module}"


def test_the_core_needs_no_jupyter() -> None:
    """Importing the core pulls in neither papermill nor Jupyter nor plotting."""
    import subprocess
    import sys

    code = (
        "import sys, dynroute_core, dynroute_core.pipeline, dynroute_core.launch\n"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('papermill', 'nbclient', 'nbformat', 'jupyter_client', 'IPython', 'ipywidgets', 'matplotlib', 'pandas')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"


def test_names_of_the_original_stay_in_one_file() -> None:
    there = re.compile(r"all_cell_list|gate_conv_beta|layer_decoder_list|sem_seg_head")
    holders = [path.name for path in SOURCES if there.search(path.read_text())]
    assert holders == ["original.py"]


def test_no_file_outgrows_one_sitting() -> None:
    long = {path.name: n for path in SOURCES if (n := len(path.read_text().splitlines())) > 360}
    assert not long


def test_dependencies_of_conda_and_pip_agree() -> None:
    """environment.yml lists exactly the packages and bounds of pyproject.toml (torch's conda name is pytorch)."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = set(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted |= set(extra)
    lines = (ROOT / "environment.yml").read_text().splitlines()
    listed = {line.split("#")[0].strip().removeprefix("- ") for line in lines if line.strip().startswith("- ")}
    renamed = {"pytorch": "torch", "opencv": "opencv-python"}
    found = set()
    for entry in listed - {"conda-forge", "pip"}:
        name = re.split(r"[<>=]", entry)[0]
        if name == "python":
            assert entry == f"python{project['requires-python']}"
            continue
        found.add(renamed.get(name, name) + entry[len(name) :])
    assert found == wanted
