"""A page for every row, made by papermill from `notebooks/row.ipynb` in report mode.

The notebook runs once per finished run of the row, which it reads instead of running it; the page holds what they
show, each under a heading that names profile, data set and seed. A row without a finished run gets the cells that need
none. The row's state, its numbers and its commands come first.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from dynroute_core.experiments import ROWS, experiment
from dynroute_core.system.errors import DynrouteError
from dynroute_core.system.files import write_whole
from dynroute_suite.book import in_process as engine
from dynroute_suite.book.row_head import downloads, overview
from dynroute_suite.notebook import document
from dynroute_suite.notebook.row import ROOT, TEMPLATE, Options, parameters
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.results import Results
from dynroute_suite.report.tables import escape_markdown

NEEDS_RECORD = "needs-record"
RESULT = "result"
NOT_SHOWN = ("title", "run-text")
HIDDEN = {document.INJECTED, "parameters"}


def write_row_pages(folder: Path, results: Results) -> None:
    """Writes `folder/ROW.ipynb` for every row. Raises DynrouteError where the notebook does not run to its end."""
    engine.register()
    folder.mkdir(parents=True, exist_ok=True)
    for row in ROWS:
        write_whole(folder / f"{row}.ipynb", row_page(row, results))


def row_page(row: str, results: Results) -> bytes:
    """One row's page as a notebook."""
    cells = [_markdown("head", f"# {ROWS[row].title}"), _markdown("overview", overview(row, results))]
    found = results.of_row(row)
    for one in found:
        name = one.folder.name
        cells.append(_markdown(f"{name}-head", f"## {_heading(one)}\n\n{downloads(one)}"))
        cells += [_demote(cell, name) for cell in execute(row, one)]
    if not found:
        cells += execute(row, None)
    made: document.Notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return document.normalise(made, document.Dress(title=ROWS[row].title))


def _heading(one: Committed) -> str:
    record = one.record
    return escape_markdown(f"{record.profile.capitalize()} profile on {record.data.name}, seed {record.seed}")


def execute(row: str, one: Committed | None) -> list[document.Cell]:
    """The cells of `notebooks/row.ipynb` for a finished run; for none, those cells that need no run."""
    template = nbformat.read(TEMPLATE, as_version=4)
    if one is None:
        template.cells = [cell for cell in template.cells if NEEDS_RECORD not in cell.metadata.get("tags", [])]
        chosen, options = experiment(row, profile="full", data="cityscapes"), ""
    else:
        record = one.record
        chosen = experiment(row, profile=record.profile, data=record.data.name, seed=record.seed)
        options = str(one.folder)
    values = parameters(chosen, Options(settings={}, data_root=None, out=ROOT / "runs"))
    with tempfile.TemporaryDirectory(prefix="dynroute-") as scratch:
        given, done = Path(scratch) / "row.ipynb", Path(scratch) / "done.ipynb"
        nbformat.write(template, given)
        try:
            papermill.execute_notebook(
                str(given),
                str(done),
                parameters=values | {"finished": options},
                engine_name=engine.NAME,
                kernel_name="python3",
                cwd=str(ROOT),
                progress_bar=False,
                report_mode=True,
            )
        except PapermillExecutionError as error:
            raise DynrouteError(f"the page of {options or row} failed: {error.ename}: {error.evalue}") from error
        cells = document.read(done)["cells"]
    return _as_report(cells)


def _as_report(cells: list[document.Cell]) -> list[document.Cell]:
    """What a reader wants of an executed notebook: the result first, no code, nothing about running."""
    shown = [cell for cell in cells if cell.get("id") not in NOT_SHOWN and not HIDDEN & set(document.tags(cell))]
    for cell in shown:
        if cell["cell_type"] == "code":
            cell["metadata"] = {"tags": ["remove-input"]}
    return sorted(shown, key=lambda cell: cell.get("id") != RESULT)


def _demote(cell: document.Cell, name: str) -> document.Cell:
    """The cell as a part of a section: its id unique on the page, its headings one level lower."""
    cell["id"] = f"{name}-{cell['id']}"
    if cell["cell_type"] == "markdown":
        cell["source"] = re.sub(r"(?m)^(#+) ", r"#\1 ", cell["source"])
    return cell


def _markdown(name: str, source: str) -> document.Cell:
    return {"id": name, "cell_type": "markdown", "metadata": {}, "source": source}


def titles(folder: Path) -> dict[str, str]:
    """The first heading of every page that `write_row_pages` left in a folder."""
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
        found[path.stem] = "".join(first).splitlines()[0].removeprefix("# ")
    return found
