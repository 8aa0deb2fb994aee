"""Fragments: found by their place, written where pages include them, the same every time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from dynroute_suite.book import fragments
from dynroute_suite.report.results import Results

ROOT = Path(__file__).parents[3]
FRAGMENTS = fragments.fragments()


@pytest.fixture(scope="module")
def results() -> Results:
    return Results()


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_fragment_is_the_same_each_time_and_draws_no_random_number(name: str, results: Results) -> None:
    before = torch.get_rng_state()
    text = fragments.text_of(FRAGMENTS[name], results)
    assert text.strip()
    assert fragments.text_of(FRAGMENTS[name], results) == text
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in FRAGMENTS if name.startswith("routes/")])
def test_no_blank_line_cuts_a_raw_block(name: str, results: Results) -> None:
    for piece in fragments.text_of(FRAGMENTS[name], results).split("\n\n"):
        for tag in ("figure", "div", "svg", "script", "form"):
            assert len(re.findall(f"<{tag}[ >]", piece)) == piece.count(f"</{tag}>"), f"a blank line cuts a {tag}"


def test_every_fragment_stands_on_a_page_and_every_page_finds_its_fragments() -> None:
    pages = [path for path in (ROOT / "book").rglob("*.md") if "_build" not in path.parts]
    included = {name for path in pages for name in re.findall(r"_generated/([\w/]+)\.md", path.read_text())}
    assert included == set(FRAGMENTS)


def test_a_fragment_is_written_where_pages_include_it_from(tmp_path: Path) -> None:
    def plain() -> str:
        return "plain\n\n"

    def of_results(results: Results) -> str:
        return results.folder.name

    shown = Results(tmp_path / "some")
    fragments.write_fragments(tmp_path, {"x/plain": plain, "x/of_results": of_results}, shown)
    assert (tmp_path / "x" / "plain.md").read_text() == "plain\n"
    assert (tmp_path / "x" / "of_results.md").read_text() == "some\n"


def test_a_fragment_that_fails_is_named(tmp_path: Path) -> None:
    def broken() -> str:
        raise ValueError("no such number")

    with pytest.raises(RuntimeError, match="'x/mine' of the book failed: ValueError: no such number"):
        fragments.write_fragments(tmp_path, {"x/mine": broken}, Results(tmp_path))


def test_a_fragment_may_ask_for_results_alone() -> None:
    def greedy(results: Results, row: str) -> str:
        return row

    with pytest.raises(AssertionError, match="greedy asks for results, row"):
        fragments.text_of(greedy, Results())
