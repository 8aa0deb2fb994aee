"""Fragments of the reference chapter: notebooks' parameters, the record's schema, the command line."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import typing

import papermill

from dynroute_core.runs import record
from dynroute_core.system.provenance import SourceFacts
from dynroute_suite.report import markup
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
)


def parameters() -> str:
    """Every notebook's parameters, read from its own parameters cell."""
    parts = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title = "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
        lines = [
            [f"`{name}`", f"`{facts['inferred_type_name']}`", f"`{facts['default']}`", escape_markdown(facts["help"])]
            for name, facts in papermill.inspect_notebook(str(path)).items()
        ]
        table = markup.table(["parameter", "type", "default", "meaning"], lines, right=4)
        parts.append(f"## {path.stem}\n\n{escape_markdown(title)}.\n\n{table}")
    return "\n\n".join(parts)


def schema() -> str:
    """The fields of every dataclass of `record.py`, with what its docstring says."""
    parts = []
    for kind in _SCHEMA:
        hints = typing.get_type_hints(kind)
        lines = [
            [f"`{field.name}`", f"`{_type_name(hints[field.name])}`".replace("|", "\\|")]
            for field in dataclasses.fields(kind)
        ]
        words = escape_markdown(" ".join((kind.__doc__ or "").split()))
        parts.append(f"## {kind.__name__}\n\n{words}\n\n{markup.table(['field', 'type'], lines, right=2)}")
    return "\n\n".join(parts)


def _type_name(hint: object) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return re.sub(r"dynroute_core\.[a-z_.]+\.", "", str(hint))


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
