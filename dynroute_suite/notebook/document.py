"""Executed notebooks as files that depend on their content alone: running a finished row again changes no byte.

Takes what papermill saved; gives the file for the book: no clock times, no papermill or execution metadata, no random
ids, no standard error, no temporary or machine paths, keys sorted, checked by nbformat. The first heading becomes the
row's title.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from dynroute_core.system.files import read_regular

MAX_STREAM = 50_000  # characters of printed text kept per output; log.txt has the rest
KEPT_METADATA = ("jupyter", "mystnb", "tags")
INJECTED = "injected-parameters"
ERROR_MARK = "papermill-error-cell-tag"
OWN = "dynroute"  # our key in the notebook's metadata
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}

_CELL_FILE = re.compile(r"/[^\s:]*?/ipykernel_\d+/\d+\.py")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Output(TypedDict, total=False):
    """One output of a cell, as nbformat 4 has it."""

    output_type: str
    name: str
    text: str
    data: dict[str, object]
    metadata: dict[str, object]
    execution_count: int | None
    ename: str
    evalue: str
    traceback: list[str]


class Cell(TypedDict, total=False):
    """One cell, as nbformat 4 has it, lines joined."""

    id: str
    cell_type: str
    source: str
    metadata: dict[str, object]
    outputs: list[Output]
    execution_count: int | None


class Notebook(TypedDict):
    """A notebook, as nbformat 4 has it."""

    cells: list[Cell]
    metadata: dict[str, object]
    nbformat: int
    nbformat_minor: int


@dataclass(frozen=True, kw_only=True)
class Dress:
    """What the file shall show.

    title: of the first heading. stamp: see `row.stamp`. failure: (name, text) on top of a notebook that failed.
    resets: parameters whose injected value means nothing later, with what stands instead. hidden: strings to replace in
    printed text and tracebacks.
    """

    title: str
    stamp: str = ""
    failure: tuple[str, str] | None = None
    resets: Mapping[str, str] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> Notebook:
    """A notebook file with lines joined. Raises ValueError where it is no whole notebook, OSError as `read_regular`."""
    try:
        found: Notebook = json.loads(read_regular(path).decode())
        if not isinstance(found["metadata"], dict):
            raise TypeError("its metadata are no object")
        for cell in found["cells"]:
            cell["source"] = "".join(cell["source"])  # nbformat writes text as a list of lines, or as text
            for output in cell.get("outputs", []):
                if "text" in output:
                    output["text"] = "".join(output["text"])
                if "data" in output:
                    output["data"] = {kind: _join_lines(value) for kind, value in output["data"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no whole notebook: {error}") from error
    return found


def normalise(notebook: Notebook, dress: Dress) -> bytes:
    """The notebook as the bytes of a stable file."""
    import nbformat  # who only reads a stamp or a failure does without

    cells = [cell for cell in notebook["cells"] if ERROR_MARK not in tags(cell)]
    for number, cell in enumerate(cells):
        _tidy_cell(cell, number, dress)
    _entitle(cells, dress.title)
    if dress.failure:
        cells.insert(0, _admonition(*dress.failure))
    own: dict[str, object] = {"title": dress.title}
    if dress.stamp:
        own["stamp"] = dress.stamp
    if dress.failure:
        own["failure"] = [plain(word) for word in dress.failure]
    metadata = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}, OWN: own}
    made = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    text = json.dumps(_split_lines(made), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    nbformat.validate(json.loads(text))
    return text.encode()


def _split_lines(value: object, key: str = "") -> object:
    """Text as lists of lines where nbformat has it so, for diffs that a person can read."""
    if isinstance(value, dict):
        return {name: _split_lines(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_split_lines(item) for item in value]
    if isinstance(value, str) and (key in ("source", "text") or key.startswith(("text/", "image/"))):
        return value.splitlines(keepends=True)
    return value


def _join_lines(value: object) -> object:
    """Data of a kind that is text as text; JSON kinds are dicts and stay."""
    return "".join(value) if isinstance(value, list) and all(isinstance(line, str) for line in value) else value


def stamp_of(path: Path) -> str:
    """The stamp in a file that `normalise` made; empty where there is no such file or no stamp."""
    return str(_own_metadata(path).get("stamp", ""))


def failure_of(path: Path) -> tuple[str, str] | None:
    """(name, text) of the failure in a file that `normalise` made; None where there is no such file or failure."""
    failure = _own_metadata(path).get("failure")
    return (str(failure[0]), str(failure[1])) if isinstance(failure, list) and len(failure) == 2 else None


def _own_metadata(path: Path) -> dict[str, object]:
    """Our part of a notebook's metadata; empty where there is none."""
    try:
        own = read(path)["metadata"].get(OWN)
    except (OSError, ValueError):
        return {}
    return own if isinstance(own, dict) else {}


def tags(cell: Cell) -> list[str]:
    """The tags of a cell."""
    found = cell.get("metadata", {}).get("tags")
    return [str(tag) for tag in found] if isinstance(found, list) else []


def _tidy_cell(cell: Cell, number: int, dress: Dress) -> None:
    cell["metadata"] = {key: value for key, value in cell.get("metadata", {}).items() if key in KEPT_METADATA and value}
    if INJECTED in tags(cell):
        cell["id"] = INJECTED
        for name, value in dress.resets.items():
            line = f"{name} = {value}".replace("\\", r"\\")
            cell["source"] = re.sub(rf"(?m)^{re.escape(name)} = .*$", line, cell["source"])
        cell["metadata"]["tags"] = [INJECTED, "remove-cell"]
    cell.setdefault("id", f"cell-{number}")
    if cell["cell_type"] == "code":
        cell["outputs"] = [_tidy_output(output, dress.hidden) for output in _merge_streams(cell.get("outputs", []))]


def _merge_streams(outputs: list[Output]) -> list[Output]:
    """Without standard error, which log.txt has; printed text in one piece where papermill left one per flush."""
    kept: list[Output] = []
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] == "stderr":
            continue
        if output["output_type"] == "stream" and kept and kept[-1]["output_type"] == "stream":
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    return kept


def _tidy_output(output: Output, hidden: Mapping[str, str]) -> Output:
    if "text" in output:
        text = _scrub(output["text"], hidden)
        cut = len(text) - MAX_STREAM
        output["text"] = text if cut <= 0 else f"{text[:MAX_STREAM]}\n[{cut} more characters are in log.txt]\n"
    if "traceback" in output:
        output["traceback"] = [_scrub(line, hidden) for line in output["traceback"]]
        output["evalue"] = _scrub(output["evalue"], hidden)
    if "data" in output:
        output["data"] = {
            kind: _scrub(value, hidden) if isinstance(value, str) and kind == "text/plain" else value
            for kind, value in output["data"].items()
        }
        output["metadata"] = {}
    return output


def _scrub(text: str, hidden: Mapping[str, str]) -> str:
    for secret, shown in hidden.items():
        text = text.replace(secret, shown)
    return _ADDRESS.sub("0x...", _CELL_FILE.sub("<cell>", text))


def plain(text: str) -> str:
    """Text without terminal colours."""
    return _COLOUR.sub("", text)


def _entitle(cells: list[Cell], title: str) -> None:
    for cell in cells:
        if cell["cell_type"] == "markdown" and re.search(r"(?m)^# ", cell["source"]):
            cell["source"] = re.sub(r"(?m)^# .*$", lambda _: f"# {_escape_markdown(title)}", cell["source"], count=1)
            return


def _escape_markdown(title: str) -> str:
    """A heading's text as it stands: a file's or a route's name may be part of it."""
    return re.sub(r"[\\`*_\[\]<>$~{}|&]", r"\\\g<0>", " ".join(title.split()))


def _admonition(name: str, text: str) -> Cell:
    """In Markdown that JupyterLab, GitHub and the book all show."""
    lines = "\n".join(f"    {line}" for line in plain(text).splitlines() or [""])
    name = re.sub(r"\W", "", name)  # of an exception: an identifier, and read back from here
    source = f"**This run did not finish: {name}.** Nothing below is a result.\n\n{lines}"
    return {"id": "failure", "cell_type": "markdown", "metadata": {"tags": ["failure"]}, "source": source}
