"""Runs a notebook of `notebooks/` for a test, as papermill does, and gives its cells."""

from __future__ import annotations

import json
from pathlib import Path

import papermill

ROOT = Path(__file__).resolve().parents[2]


def execute(name: str, folder: Path, **parameters: object) -> dict[str, dict[str, object]]:
    """Executes `notebooks/NAME.ipynb` from the repository's root, other parameters as declared; cells by id.

    The executed notebook is kept in `folder`. Raises KeyError for a parameter the notebook does not declare.
    """
    path = ROOT / "notebooks" / f"{name}.ipynb"
    declared = papermill.inspect_notebook(str(path))
    for parameter in parameters:
        declared[parameter]
    done = folder / f"{name}.ipynb"
    papermill.execute_notebook(
        str(path), str(done), parameters=parameters, cwd=str(ROOT), kernel_name="python3", progress_bar=False
    )
    return {cell["id"]: cell for cell in json.loads(done.read_text())["cells"]}


def shown(cell: dict[str, object], kind: str) -> list[str]:
    """What a cell displayed of one MIME type."""
    outputs = [output["data"] for output in cell["outputs"] if "data" in output]  # type: ignore[attr-defined]
    return ["".join(data[kind]) for data in outputs if kind in data]
