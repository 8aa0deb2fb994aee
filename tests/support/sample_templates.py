"""Notebooks with a few cells, to be run."""

from __future__ import annotations

import json
from pathlib import Path

PARAMETERS = 'name: str = "x"  # a name\ncount: int = 1  # a number\nprogress_file: str = ""  # for the supervisor'


def write_template(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    cells: list[dict[str, object]] = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# Template"}]
    cells.append(code_cell("parameters", parameters, tags=["parameters"]))
    cells += [code_cell(f"cell-{number}", source) for number, source in enumerate(sources)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


def code_cell(name: str, source: str, tags: list[str] | None = None) -> dict[str, object]:
    metadata = {"tags": tags} if tags else {}
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }
