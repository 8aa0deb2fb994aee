"""`cost_audit.ipynb` on a small network: its tables hold the formulas' numbers, and differ from torch's count by 0."""

from __future__ import annotations

from pathlib import Path

from dynroute_core.cost import cost_table
from dynroute_core.experiments import ROWS, with_settings
from support.notebook_runs import execute, shown

SETTINGS = {"model.channels": "8", "model.layers": "4"}


def test_it_counts_what_the_formulas_say(tmp_path: Path) -> None:
    cells = execute("cost_audit", tmp_path, row="dynamic-c", settings=SETTINGS, height=96, width=160, cell="2.1")
    config = with_settings(ROWS["dynamic-c"], SETTINGS).model
    tables = {a: cost_table(config, height=96, width=160, accounting=a) for a in ("paper", "repo")}
    (audit,) = shown(cells["audit"], "text/markdown")
    lines = [line for line in audit.splitlines() if line.startswith("|")][2:]
    assert [line.split("|")[1].strip() for line in lines] == ["stem", "gates", "operations", "paths", "head", "all"]
    assert {line.split("|")[-2].strip() for line in lines} == {"0"}
    assert f"| {tables['paper'].all_open / 1e9:.3f} | 0 |" in lines[-1]
    (example,) = shown(cells["example"], "text/markdown")
    assert "Cell 2.1: C = 16 channels on 12×20 positions" in example
    printed = "".join("".join(output.get("text", [])) for output in cells["tables"]["outputs"])
    for table in tables.values():
        assert f"{table.all_closed:,}" in printed and f"{table.all_open:,}" in printed
    assert len(shown(cells["figures"], "text/html")) == 2
