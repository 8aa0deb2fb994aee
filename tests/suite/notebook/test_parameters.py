"""A notebook's parameters: what may be given, and what the notebook declares."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dynroute_core.system.errors import (
    UsageError,
)
from dynroute_suite.notebook.execution import checked_parameters, name_kernel
from dynroute_suite.notebook.request import plain_parameter
from support.sample_templates import write_template


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.float64(1.0), "float64"),
        (np.int64(1), "int64"),
        (Path("x"), "Path"),
        ((1, 2), "tuple"),
        (math.nan, "float"),
        ({1: 2}, "dict"),
        ([{"a": {1}}], "set"),
    ],
)
def test_values_that_papermill_would_change_are_refused(value: object, kind: str) -> None:
    with pytest.raises(UsageError, match=rf"parameter x.*{kind}"):
        plain_parameter(value, "x")


def test_plain_values_pass_unchanged() -> None:
    value = {"a": [1, 1.5, True, None, "12e3456"], "b": {}}
    assert plain_parameter(value, "x") == value


def test_parameters_come_in_the_notebooks_order(tmp_path: Path) -> None:
    template = write_template(tmp_path / "{t}.ipynb")
    given: dict[str, object] = {"progress_file": "", "count": 3, "name": "012"}
    assert list(checked_parameters(template, given)) == ["name", "count", "progress_file"]


def test_a_template_that_names_no_kernel_is_run_by_ours(tmp_path: Path) -> None:
    template = write_template(tmp_path / "t.ipynb")
    bare = json.loads(template.read_text())
    del bare["metadata"]["kernelspec"]
    template.write_text(json.dumps(bare))
    (tmp_path / "run").mkdir()
    copy = name_kernel(template, tmp_path / "run")
    assert json.loads(copy.read_text())["metadata"]["kernelspec"]["name"] == "python3"
    assert json.loads(template.read_text()) == bare, "the template itself stays as it is"
    given: dict[str, object] = {"name": "a", "count": 3, "progress_file": ""}
    assert checked_parameters(copy, given) == given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nmae": "a", "count": 1, "progress_file": ""}, "unknown parameter .*nmae.*Did you mean 'name'"),
        ({"name": "a", "progress_file": ""}, "needs the parameter count"),
        ({"name": "a", "count": "1", "progress_file": ""}, "count .*'1'; allowed: int"),
        ({"name": "a", "count": True, "progress_file": ""}, "count .*True; allowed: int"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        checked_parameters(write_template(tmp_path / "t.ipynb"), given)
