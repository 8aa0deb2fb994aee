"""The notebooks: thin and clean as files, and `row.ipynb` run for real at the smoke profile."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import TypedDict, get_type_hints

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

from dynroute_core.experiments import ROWS, experiment
from dynroute_core.runs.record import Record, example_names, read_record
from dynroute_suite.notebook.row import TEMPLATE, Options, parameters, title

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_CODE_CELLS, MAX_LINES = 12, 25
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


class Cell(TypedDict):
    id: str
    cell_type: str
    source: str
    metadata: dict[str, list[str]]
    outputs: list[dict[str, dict[str, list[str] | str]]]
    execution_count: int | None


def read_cells(text: str) -> list[Cell]:
    cells: list[Cell] = json.loads(text)["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


# The rules for notebooks as files


def problems(text: str) -> Iterator[str]:
    """Everything that is wrong with a notebook's file."""
    whole = json.loads(text)
    if text != json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n":
        yield "not in the written form: sorted keys, indent 1, one newline at the end"
    if whole["metadata"] != {"kernelspec": KERNEL, "language_info": {"name": "python"}}:
        yield "metadata is more or less than the python3 kernel"
    cells = read_cells(text)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    if len({cell["id"] for cell in cells}) < len(cells):
        yield "a cell id occurs twice"
    else:
        nbformat.validate(json.loads(text))  # of a copy, and not with double ids: it would repair what it is shown
    if len(code) > MAX_CODE_CELLS:
        yield f"{len(code)} code cells, at most {MAX_CODE_CELLS}"
    if not cells[0]["source"].startswith("# "):
        yield "does not begin with a heading"
    if sum("parameters" in cell["metadata"].get("tags", []) for cell in code) != 1:
        yield "needs exactly one cell tagged parameters"
    for cell in cells:
        yield from (f"cell {cell['id']}: {problem}" for problem in _cell_problems(cell))


def _cell_problems(cell: Cell) -> Iterator[str]:
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*", cell["id"]):
        yield "the id is no name"
    if set(cell["metadata"]) - {"tags"}:
        yield "has metadata beside tags"
    if cell["source"] != cell["source"].strip() or not cell["source"]:
        yield "is empty, or has blank lines around it"
    if cell["cell_type"] != "code":
        return
    if cell["outputs"] or cell["execution_count"] is not None:
        yield "has outputs"
    if len(cell["source"].splitlines()) > MAX_LINES:
        yield f"more than {MAX_LINES} lines"
    try:
        tree = ast.parse(cell["source"])
    except SyntaxError:
        yield "is no Python (magics and shell lines are not allowed)"
        return
    yield from _code_problems(tree)
    if "parameters" in cell["metadata"].get("tags", []):
        yield from _parameter_problems(tree, cell["source"].splitlines())


def _code_problems(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield "defines a function or class: logic belongs in dynroute_core"
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.match(r"(/|~|[A-Za-z]:\\)", node.value)
        ):
            yield f"has the absolute path {node.value!r}"
        if isinstance(node, ast.Attribute) and node.attr in ("manual_seed", "seed", "default_rng", "chdir"):
            yield f"calls {node.attr}"


def _parameter_problems(tree: ast.Module, lines: list[str]) -> Iterator[str]:
    for node in tree.body:
        if not (isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name)):
            yield "has a line that is no annotated parameter"
            continue
        try:
            ast.literal_eval(node.value)
        except ValueError:
            yield f"parameter {node.target.id} is no literal"
        if not re.search(r"  # \w.{5,}", lines[node.lineno - 1]):
            yield f"parameter {node.target.id} has no help"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_notebook_is_thin_and_clean(path: Path) -> None:
    assert list(problems(path.read_text())) == []


def test_there_are_notebooks() -> None:
    assert ROOT / "notebooks" / "row.ipynb" in TEMPLATES


Edit = Callable[[dict[str, list[dict[str, object]]]], object]


def _edited(edit: Edit) -> str:
    whole = json.loads(TEMPLATE.read_text())
    for cell in whole["cells"]:
        cell["source"] = "".join(cell["source"])
    edit(whole)
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _set(number: int, **changes: object) -> Edit:
    return lambda whole: whole["cells"][number].update(changes)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_set(2, outputs=[{"output_type": "stream", "name": "stdout", "text": "x"}]), "has outputs"),
        (_set(2, execution_count=3), "has outputs"),
        (_set(2, source="def f():\n    pass"), "defines a function"),
        (_set(2, source="f = lambda: 1"), "defines a function"),
        (_set(2, source="%cd .."), "is no Python"),
        (_set(2, source="!pip install x"), "is no Python"),
        (_set(2, source='open("/data/x")'), "absolute path '/data/x'"),
        (_set(2, source="torch.manual_seed(1)"), "calls manual_seed"),
        (_set(2, source="x\n" * 30 + "x"), "more than 25 lines"),
        (_set(2, source=" "), "is empty"),
        (_set(2, metadata={"collapsed": True}), "metadata beside tags"),
        (_set(2, id="title"), "occurs twice"),
        (_set(2, id="a1b2c3"), "is no name"),
        (_set(1, source="a = 1"), "no annotated parameter"),
        (_set(1, source="a: int = b + 1  # a number"), "is no literal"),
        (_set(1, source="a: int = 1"), "has no help"),
        (_set(1, metadata={}), "exactly one cell tagged parameters"),
        (_set(0, source="text"), "begin with a heading"),
        (lambda whole: whole["cells"].extend(whole["cells"][2:3] * 9), "code cells, at most"),
        (lambda whole: whole.update(metadata=[]), "metadata is more"),
    ],
)
def test_every_rule_can_fire(edit: Edit, said: str) -> None:
    assert any(said in problem for problem in problems(_edited(edit)))


def test_the_runner_gives_the_row_notebook_exactly_its_parameters() -> None:
    declared = papermill.inspect_notebook(str(TEMPLATE))
    options = Options(settings={}, data_root=None, out=ROOT / "runs")
    given = parameters(experiment("dynamic-c"), options)
    assert list(given) == list(declared)
    for name, value in given.items():
        assert ast.literal_eval(declared[name]["default"]) == value, f"{name} differs from the notebook's default"
    assert {"settings", "data_root"} <= set(get_type_hints(Options))


# A run of row.ipynb


@dataclass(frozen=True)
class Finished:
    """The smoke run that the tests below look at."""

    out: Path
    folder: Path
    record: Record
    cells: dict[str, Cell]


WORDS = ("--row", "dynamic-c", "--profile", "smoke", "--device", "cpu", "--set", "data.workers=0", "--json")


def reproduce(out: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "reproduce.py"), *WORDS, "--out", str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    return row  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("runs")
    row = reproduce(out)
    assert row["state"] == "done"
    cells = read_cells(Path(row["notebook"]).read_text())
    return Finished(out, Path(row["folder"]), read_record(Path(row["record"])), {cell["id"]: cell for cell in cells})


def shown(cell: Cell, kind: str) -> list[str]:
    found = [output["data"].get(kind) for output in cell["outputs"] if "data" in output]
    return ["".join(text) for text in found if text is not None]


@pytest.mark.slow
def test_the_page_says_what_the_record_says(finished: Finished) -> None:
    record, cells = finished.record, finished.cells
    assert cells["title"]["source"].startswith("# Dynamic-C: smoke profile on streets\n")
    (result,) = shown(cells["result"], "text/markdown")
    assert record.label in result
    assert f"mIoU {record.metrics.miou_percent:.2f} %" in result
    assert f"{record.costs.paper.mean_macs / 1e9:.4g} GFLOPs" in result
    assert f"{record.costs.repo.mean_macs / 1e9:.4g} in the released code's" in result
    assert f"over {len(record.images)} images" in result
    (comparison,) = shown(cells["comparison"], "text/markdown")
    assert f"| {record.metrics.miou_percent:.1f} |" in comparison
    assert "not comparable" in comparison
    assert "smoke profile, streets" in comparison
    (claim,) = shown(cells["claim"], "text/markdown")
    assert "74.6 % mIoU at 66.6 GFLOPs" in claim
    (settings,) = shown(cells["settings"], "text/markdown")
    assert "iterations 6" in settings


@pytest.mark.slow
def test_every_figure_is_there_with_a_text_alternative(finished: Finished) -> None:
    alts = {
        name: [
            unescape(alt)
            for html in shown(finished.cells[name], "text/html")
            for alt in re.findall('aria-label="([^"]+)"', html)
        ]
        for name in ("curve", "classes", "cost", "routes")
    }
    for name in ("curve", "classes", "cost"):
        assert len(alts[name]) == 1
        assert finished.record.label in alts[name][0], f"the {name} figure does not name its run"
    for role, name in example_names(finished.record).items():
        assert any(role.capitalize() in alt and name in alt for alt in alts["routes"])
    assert len(alts["routes"]) == 1 + len(finished.record.images) == 4, "the mean route and one of each image"


@pytest.mark.slow
def test_the_page_holds_nothing_of_this_machine(finished: Finished) -> None:
    text = (finished.folder / "row.ipynb").read_text().replace(str(finished.out), "")
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text
    assert '"stderr"' not in text
    assert "Traceback" not in text
    assert finished.cells["run"]["outputs"] == []


@pytest.mark.slow
def test_a_finished_row_is_reused_and_its_page_can_be_made_again_byte_by_byte(finished: Finished) -> None:
    path = finished.folder / "row.ipynb"
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    assert reproduce(finished.out)["state"] == "reused"
    assert path.stat().st_mtime_ns == written, "the page was made again for nothing"
    path.unlink()
    assert reproduce(finished.out)["state"] == "reused"
    assert path.read_bytes() == before


@pytest.mark.slow
def test_the_notebook_runs_by_itself_from_its_folder(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    node = nbformat.read(TEMPLATE, as_version=4)  # type: ignore[no-untyped-call]
    for cell in node.cells:
        if "parameters" in cell.metadata.get("tags", []):
            settings = (
                f"profile, device, out, settings = 'smoke', 'cpu', {str(finished.out)!r}, {{'data.workers': '0'}}"
            )
            cell.source += "\n" + settings
    NotebookClient(node, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    text = json.dumps(node)
    assert "opening streets" in text, "there is no progress bar on the page"
    assert f"mIoU {finished.record.metrics.miou_percent:.2f} %" in text


def test_every_row_has_a_title_of_its_own() -> None:
    titles = {title(experiment(row, profile=profile)) for row in ROWS for profile in ("smoke", "demo", "full")}
    assert len(titles) == 3 * len(ROWS)
