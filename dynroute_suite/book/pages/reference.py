"""Fragments of the reference chapter: settings, notebooks' parameters, the record's schema, the command line."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import typing

import papermill

from dynroute_core.experiments import Experiment
from dynroute_core.runs import record, shipped
from dynroute_core.system.files import visible
from dynroute_core.system.provenance import SourceFacts
from dynroute_suite.book.settings import settings_of
from dynroute_suite.report import markup
from dynroute_suite.report.numbers import NOTHING
from dynroute_suite.report.results import ROOT
from dynroute_suite.report.tables import escape_markdown

_SCHEMA = (
    record.Record,
    record.DataFacts,
    record.MachineFacts,
    SourceFacts,
    record.Durations,
    record.TrainingFacts,
    record.Metrics,
    record.Costs,
    record.CostRange,
    record.ImageFacts,
    record.Routes,
    record.ImageRoute,
    record.CurvePoint,
    shipped.ShippedFacts,
)


def settings() -> str:
    """Every setting of a run, as `--set` names it, with the comment at its field."""
    parts = []
    for kind, found in settings_of(Experiment).items():
        lines = [[f"`{one.name}`", _code(one.hint), _default(one.default), _markdown(one.words)] for one in found]
        table = markup.table(["setting", "type", "default", "meaning"], lines, right=4)
        parts.append(f"### {kind.__name__}\n\n{_markdown(kind.__doc__ or '')}\n\n{table}")
    return "\n\n".join(parts)


def _markdown(words: str) -> str:
    """A comment or docstring of ours, whose backticks are meant, on one line of a table."""
    return " ".join(words.split()).replace("|", "\\|")


def _default(value: object) -> str:
    return NOTHING if value is dataclasses.MISSING else f"`{value!r}`"


def parameters() -> str:
    """Every notebook's parameters, read from its own parameters cell."""
    parts = []
    for path in visible(ROOT / "notebooks", "*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title = "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
        lines = [
            [f"`{name}`", f"`{facts['inferred_type_name']}`", f"`{facts['default']}`", escape_markdown(facts["help"])]
            for name, facts in papermill.inspect_notebook(str(path)).items()
        ]
        table = markup.table(["parameter", "type", "default", "meaning"], lines, right=4)
        parts.append(f"### {path.stem}\n\n{escape_markdown(title)}.\n\n{table}")
    return "\n\n".join(parts)


def schema() -> str:
    """The fields of every dataclass of `record.py`, with what its docstring says."""
    parts = []
    for kind in _SCHEMA:
        hints = typing.get_type_hints(kind)
        lines = [[f"`{field.name}`", _code(hints[field.name])] for field in dataclasses.fields(kind)]
        words = escape_markdown(" ".join((kind.__doc__ or "").split()))
        parts.append(f"## {kind.__name__}\n\n{words}\n\n{markup.table(['field', 'type'], lines, right=2)}")
    return "\n\n".join(parts)


def _code(hint: object) -> str:
    return f"`{_type_name(hint)}`".replace("|", "\\|")


def _type_name(hint: object) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return re.sub(r"(dynroute_core|typing)\.([a-z_.]+\.)?", "", str(hint))


def command_line() -> str:
    """What `reproduce.py --help` prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "reproduce.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "88", "NO_COLOR": "1"},
    )
    return markup.block(done.stdout.rstrip())
