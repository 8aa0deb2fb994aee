"""What newcomers read: tables and picture as sources and records have them, links that lead somewhere, few words."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import texts

from support.sample_speed import RECORD, TIME

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
LINKED = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "kernels/README.md", "kernels/csrc/cuda/README.md")
LONGEST = 140  # lines: what a reader scrolls through before deciding
FIRST_SCREEN = 15  # lines
LARGEST_PICTURE = 300_000  # bytes: loads at once on a slow line
LONGEST_WAY = 3500  # lines of code: an afternoon


def test_tables_and_picture_are_those_of_sources_and_records() -> None:
    assert texts.stale() == []


def test_a_stale_table_and_a_missing_picture_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(texts, "ROOT", tmp_path)
    monkeypatch.setattr(texts, "TEXTS", ("one.md", "two.md"))
    monkeypatch.setattr(texts, "PICTURE", tmp_path / "street.svg")
    table = "Before\n\n<!-- table: rows -->\nold\n<!-- end -->\n\nAfter"
    (tmp_path / "one.md").write_text(table)
    (tmp_path / "two.md").write_text("no table")
    assert texts.main(["--check"]) == 1
    assert (tmp_path / "one.md").read_text() == table
    assert re.findall(r"(\S+) is stale", capsys.readouterr().out) == ["one.md", "street.svg"]

    assert texts.main([]) == 0
    assert texts.main(["--check"]) == 0
    written = (tmp_path / "one.md").read_text()
    assert written.startswith("Before\n") and written.endswith("\nAfter") and texts.rows() in written
    assert texts.main(["--no-such-option"]) == 2


def test_a_table_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="no-such-table"):
        texts.renewed("<!-- table: no-such-table -->\n<!-- end -->")


def test_a_gain_is_a_range_over_sizes() -> None:
    def of(subject: str, ms: float, height: int) -> object:
        return replace(TIME, part="cell", subject=subject, height=height, median_ms=ms)

    timed = (
        of("torch float32", 6.0, 8),
        of("native float32", 2.0, 8),
        of("torch float32", 6.0, 4),
        of("native float32", 1.5, 4),
    )
    record = replace(RECORD, measurements=timed)
    assert texts.gain_range(record, "cell", "float32") == "3.0–4.0×"
    assert texts.gain_range(record, "cell", "bfloat16") == texts.gain_range(record, "stem", "float32") == "–"


def test_the_readme_is_short_and_begins_with_a_picture() -> None:
    lines = README.splitlines()
    assert len(lines) <= LONGEST
    shown = re.search(r"(?m)^!\[.+\]\((.+)\)$", "\n".join(lines[:FIRST_SCREEN]))
    assert shown and ROOT / shown[1] == texts.PICTURE
    assert texts.PICTURE.stat().st_size < LARGEST_PICTURE


def test_the_readmes_python_runs() -> None:
    (code,) = re.findall(r"(?s)```python\n(.*?)```", README)
    scope: dict[str, object] = {}
    exec(textwrap.dedent(code), scope)
    assert tuple(scope["output"].logits.shape) == (2, 19, 200, 333)


@pytest.mark.parametrize("name", LINKED)
def test_links_lead_to_files(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    assert not [link for link in links if "://" not in link and not (path.parent / link).exists()]


def test_the_way_through_the_paper_is_short() -> None:
    way = re.findall(r"(?m)^\d\. \[`(\w+\.py)`\]\((dynroute_core/\1)\)", README)
    names = [name.removesuffix(".py") for name, _ in way]
    assert names == ["space", "operations", "cell", "cost", "model", "losses", "train", "evaluate", "experiments"]
    assert sum(len((ROOT / path).read_text().splitlines()) for _, path in way) < LONGEST_WAY


HOMES = ("dynroute_core", "dynroute_suite", "kernels", "benchmarks", "tools", "tests")
NAMED = re.compile(r"`(?:[\w/]+/)?([a-z]\w*\.(?:py|cpp|h|cuh|cu))`")  # names in capitals stand for any
SOURCES = [path for home in HOMES for path in (ROOT / home).rglob("*.*") if "__pycache__" not in path.parts]
# The log and the changelog name files of their day.
PROSE = [
    *(path for path in SOURCES if path.suffix in (".py", ".md")),
    *(path for path in (ROOT / "book").rglob("*.md") if "_build" not in path.parts),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "pyproject.toml")),
]


def gone(text: str) -> set[str]:
    """The source files that a text names in backticks and that are nowhere here."""
    return set(NAMED.findall(text)) - {path.name for path in (*SOURCES, ROOT / "reproduce.py")}


def test_files_that_texts_name_are_there() -> None:
    found = {path.relative_to(ROOT).as_posix(): names for path in PROSE if (names := gone(path.read_text()))}
    assert found == {"tests/test_texts.py": {"no_such_file.py"}}


def test_a_file_that_is_gone_would_be_found() -> None:
    assert gone("see `train.py`, `core/NAME.py`, `no_such_file.py` and `cpu/rows.h`") == {"no_such_file.py"}
