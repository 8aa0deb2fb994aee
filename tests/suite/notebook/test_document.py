"""The file that is made of an executed notebook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynroute_suite.notebook import document
from support.sample_templates import code_cell


def executed(*cells: dict[str, object]) -> document.Notebook:
    raw = {"cells": list(cells), "metadata": {"papermill": {"duration": 1}}, "nbformat": 4, "nbformat_minor": 5}
    return json.loads(json.dumps(raw))  # type: ignore[no-any-return]


def test_normalise_merges_scrubs_and_drops(tmp_path: Path) -> None:
    streams = [
        {"output_type": "stream", "name": "stdout", "text": "a\n"},
        {"output_type": "stream", "name": "stderr", "text": "no\n"},
        {"output_type": "stream", "name": "stdout", "text": "in /secret/place at /tmp/ipykernel_12/345.py:1\n"},
    ]
    picture = {"output_type": "display_data", "metadata": {"x": 1}, "data": {"text/html": "<img 0xabcdef12>"}}
    cell = code_cell("c", "1") | {
        "outputs": [*streams, picture],
        "metadata": {"execution": {"start": 1}, "papermill": {}},
    }
    mark = code_cell("m", "1", tags=[document.ERROR_MARK])
    title: dict[str, object] = {
        "cell_type": "markdown",
        "id": "t",
        "metadata": {},
        "source": "intro\n\n# Old\n\n# Other",
    }
    dress = document.Dress(title=r"New \1", hidden={"/secret/place": "<here>"})
    found = json.loads(document.normalise(executed(title, mark, cell), dress))
    assert [made["id"] for made in found["cells"]] == ["t", "c"]
    assert (
        "".join(found["cells"][0]["source"]) == "intro\n\n# New \\\\1\n\n# Other"
    )  # a title is text, and so is its backslash
    printed, shown = found["cells"][1]["outputs"]
    assert "".join(printed["text"]) == "a\nin <here> at <cell>:1\n"
    assert "".join(shown["data"]["text/html"]) == "<img 0xabcdef12>", "data in a figure must not be touched"
    assert shown["metadata"] == found["cells"][1]["metadata"] == {}
    assert found["metadata"]["dynroute"] == {"title": r"New \1"}


@pytest.mark.parametrize("text", ["", '{"cells": [', "[]", '{"cells": [{"id": 1}]}', '{"cells": 3}'])
def test_a_half_written_notebook_is_no_notebook(tmp_path: Path, text: str) -> None:
    path = tmp_path / "half.ipynb"
    path.write_text(text)
    with pytest.raises(ValueError, match="no whole notebook"):
        document.read(path)
    assert document.stamp_of(path) == document.stamp_of(tmp_path / "absent.ipynb") == ""
