"""The table of weights that ship."""

from __future__ import annotations

from pathlib import Path

from dynroute_core.runs.record import RECORD, WEIGHTS, read_record
from dynroute_core.runs.shipped import LICENCE, SHIPPED_SCHEMA, ShippedFacts, write_facts
from dynroute_core.weights.files import file_hash
from dynroute_suite.book.pages.pictures import shipped
from dynroute_suite.report.results import Results
from support.sample_runs import sample_runs


def test_it_names_what_ships_and_what_it_reaches(tmp_path: Path) -> None:
    sample_runs(tmp_path)
    assert shipped(Results(tmp_path)).startswith("No weights ship yet")
    folder = tmp_path / "dynamic-a" / "demo-streets-seed0"
    record = read_record(folder / RECORD)
    (folder / WEIGHTS).write_bytes(b"as they are stored")
    facts = ShippedFacts(
        schema=SHIPPED_SCHEMA,
        row=record.row,
        key=record.key,
        record_sha256=file_hash(folder / RECORD),
        sha256=file_hash(folder / WEIGHTS),
        size_bytes=3 << 19,
        licence=LICENCE,
        miou_percent=record.metrics.miou_percent,
        stored_miou_percent=12.346,
    )
    write_facts(folder, facts)
    *_, line = shipped(Results(tmp_path)).splitlines()
    assert "`dynamic-a`" in line and "/records/dynamic-a/demo-streets-seed0/record.json" in line
    assert [cell.strip() for cell in line.split("|")][3:6] == ["12.35", f"{record.metrics.miou_percent:.2f}", "1.50"]
