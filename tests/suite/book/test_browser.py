"""The book in a real browser: on large and small screens, light and dark; quiet, readable, usable by keyboard.

Skipped, with the reason, where Chromium or Playwright are missing.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dynroute_suite.book.pdf import write_pdf
from support.browser import CHROMIUM, SIZES, axe_violations, looking, overflow, served
from support.built_book import Book

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian, Ubuntu: apt-get install chromium)"),
]

MODES = [(size, theme) for size in SIZES for theme in ("light", "dark")]
KINDS = [
    "index",
    "idea/ten-minutes",
    "results/table",
    "results/claims",
    "rows/dynamic-c",  # a row with a record
    "rows/dynamic-raw-imagenet",  # one without
    "routes/gallery",
    "routes/explorer",
    "routes/cost",
    "inside/gates",
    "inside/data",
    "source/cell",
]


def formulas_are_drawn(page: Any) -> bool:
    found: bool = page.evaluate(
        "[...document.querySelectorAll('math')].every(m => { const b = m.getBoundingClientRect();"
        " return m.checkVisibility() === false || (b.width > 0 && b.height > 0); })"
    )
    return found


@pytest.mark.parametrize("name", KINDS)
def test_a_page_of_each_kind_is_fit_to_be_read(browser: Any, origin: str, axe: str, name: str) -> None:
    """Nothing leaves the machine, nothing fails, nothing runs over the edge, axe is content: in all four modes."""
    problems = []
    for size, theme in MODES:
        with looking(browser, origin, size=size, theme=theme) as (page, seen):
            page.goto(f"{origin}/{name}.html")
            assert page.locator("html").get_attribute("data-theme") == theme
            if overflow(page) > 0:
                problems.append(f"{size} {theme}: {overflow(page)} px too wide")
            if not formulas_are_drawn(page):
                problems.append(f"{size} {theme}: a formula has no box")
            problems += [f"{size} {theme}: {found}" for found in axe_violations(page, axe)]
            if not seen.nothing():
                problems.append(f"{size} {theme}: {seen}")
    assert not problems


def test_every_page_is_quiet(browser: Any, origin: str, book: Book) -> None:
    names = sorted(
        path.relative_to(book.pages).as_posix() for path in book.pages.rglob("*.html") if path.parent.name != "_static"
    )
    assert len(names) > len(KINDS)
    problems = []
    with looking(browser, origin) as (page, seen):
        for name in names:
            page.goto(f"{origin}/{name}")
            if overflow(page) > 0:
                problems.append(f"{name} is {overflow(page)} px too wide")
    assert seen.nothing(), seen
    assert not problems


def test_formulas_are_mathml_with_a_text_alternative(browser: Any, origin: str) -> None:
    with looking(browser, origin) as (page, _):
        page.goto(f"{origin}/inside/gates.html")
        assert page.locator("math[alttext]").count() == page.locator("math").count() > 1


def test_search_finds_budget(browser: Any, origin: str) -> None:
    with looking(browser, origin) as (page, seen):
        page.goto(f"{origin}/search.html?q=budget")
        page.locator("#search-results li a").first.wait_for()
        assert page.locator("#search-results li a").count() >= 1
        assert seen.nothing(), seen


def test_a_table_sorts_by_the_head_that_is_pressed(browser: Any, origin: str) -> None:
    def column() -> list[str]:
        found: list[str] = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
        return found

    with looking(browser, origin) as (page, seen):
        page.goto(f"{origin}/results/table.html")
        table = page.locator("table", has=page.get_by_role("button", name="seeds", exact=False)).first
        head = table.get_by_role("button", name="mIoU %")
        values = sorted(column(), key=lambda text: float(text.split()[0]))
        head.focus()
        page.keyboard.press("Enter")
        assert [float(text.split()[0]) for text in column()] == [float(text.split()[0]) for text in reversed(values)]
        assert table.locator("[aria-sort=descending]").count() == 1
        head.click()
        assert [float(text.split()[0]) for text in column()] == [float(text.split()[0]) for text in values]
        assert seen.nothing(), seen


# The PDF


def test_the_pdf_has_every_page_and_bookmarks(book: Book) -> None:
    """Chromium writes the structure of a PDF uncompressed, so that its objects can be counted without a reader."""
    # In a thread of its own: Playwright allows one browser per thread, and the other tests' is open.
    with ThreadPoolExecutor(max_workers=1) as thread:
        written = thread.submit(write_pdf, book.pages.parent).result().read_bytes()
    count = len(re.findall(rb"/Type\s*/Page\b", written))
    assert count > len(list(book.pages.glob("*/*.html"))), "fewer sheets than the book has pages"
    titles = re.findall(rb"/Title\s*[(<]", written)
    assert b"/Outlines" in written and len(titles) > len(KINDS)
    assert b"/StructTreeRoot" in written, "not tagged: a screen reader finds no order in it"


# The checks can fail


def test_what_is_wrong_with_a_page_is_seen(browser: Any, axe: str, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<html><body><div style='width:3000px'>wide</div><img src='missing.png'><img src='https://example.org/x.png'>"
        "<script>throw new Error('on purpose')</script></body></html>"
    )
    with served(tmp_path) as address, looking(browser, address) as (page, seen):
        page.goto(f"{address}/bad.html")
        assert overflow(page) > 1000
        found = " ".join(axe_violations(page, axe))
        assert "image-alt" in found and "html-has-lang" in found
    assert seen.abroad == ["https://example.org/x.png"]
    assert any(re.fullmatch(r"404 .*/missing\.png", one) for one in seen.failed)
    assert any("on purpose" in one for one in seen.errors)
