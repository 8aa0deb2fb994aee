"""The book in a real browser: on large and small screens, light and dark; quiet, readable, usable by keyboard.

Skipped, with the reason, where Chromium or Playwright are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from dynroute_core.space import RoutingSpace
from dynroute_suite.book.explorer.data import FACTOR_STEPS, shipped_images, steps_of
from dynroute_suite.book.pdf import write_pdf
from dynroute_suite.figures.signs import path_color
from dynroute_suite.report.flow import flow, image_route
from dynroute_suite.report.numbers import macs_of
from dynroute_suite.report.threshold import at_threshold
from support.browser import CHROMIUM, FLAGS, SIZES, axe_violations, looking, overflow, served
from support.built_book import Book

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright, which drives the browser, is not installed")
axe = pytest.importorskip("axe_playwright_python", reason="axe, which judges accessibility, is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian, Ubuntu: apt-get install chromium)"),
]

AXE = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
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


@pytest.fixture(scope="session")
def origin(book: Book) -> Iterator[str]:
    with served(book.pages) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        window = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield window
        window.close()


def formulas_are_drawn(page: Any) -> bool:
    found: bool = page.evaluate(
        "[...document.querySelectorAll('math')].every(m => { const b = m.getBoundingClientRect();"
        " return m.checkVisibility() === false || (b.width > 0 && b.height > 0); })"
    )
    return found


@pytest.mark.parametrize("name", KINDS)
def test_a_page_of_each_kind_is_fit_to_be_read(browser: Any, origin: str, name: str) -> None:
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
            problems += [f"{size} {theme}: {found}" for found in axe_violations(page, AXE)]
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


# The explorer


def kept(page: Any) -> dict[str, str]:
    """The state in the address, as the page itself has it: Playwright's `page.url` learns of it later."""
    return {name: values[0] for name, values in parse_qs(page.evaluate("location.hash.slice(1)")).items()}


def drawing(page: Any) -> str:
    shown: str = page.locator(".dr-drawing:not([hidden]) .dr-paths").evaluate("group => group.outerHTML")
    return shown


def test_the_explorer_by_keyboard_changes_picture_and_address(browser: Any, origin: str, book: Book) -> None:
    run = book.results.routed[0]
    names = [image.name for image in shipped_images(run)]
    with looking(browser, origin) as (page, seen):
        page.goto(f"{origin}/routes/explorer.html")
        assert kept(page) == {"record": run.identity, "image": names[0]}
        page.locator("#dr-stage").focus()
        page.keyboard.press("ArrowRight")
        assert kept(page)["image"] == names[1]
        page.keyboard.press("End")
        assert kept(page)["image"] == names[-1]
        assert names[-1] in page.locator("#dr-headline").inner_text()
        page.keyboard.press("Home")
        assert kept(page)["image"] == names[0]
        page.locator("#dr-threshold").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        assert kept(page)["threshold"] == "0.03"
        page.locator("#dr-compare").focus()
        page.keyboard.press("Space")
        assert kept(page)["versus"] == run.identity
        assert page.locator("#dr-difference").is_visible()
        assert seen.nothing(), seen


def test_another_image_is_another_drawing(browser: Any, origin: str, book: Book) -> None:
    run = book.results.routed[-1]  # a committed one: the made-up run's images take one route
    names = [image.name for image in shipped_images(run)]
    with looking(browser, origin) as (page, _):
        page.goto(f"{origin}/routes/explorer.html#record={run.identity}&image={names[0]}")
        before = drawing(page)
        page.locator("#dr-stage").focus()
        page.keyboard.press("End")
        assert kept(page)["image"] == names[-1]
        assert drawing(page) != before
        page.keyboard.press("Home")
        assert drawing(page) == before


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9])
def test_the_explorer_shows_what_python_computes(browser: Any, origin: str, book: Book, threshold: float) -> None:
    run = book.results.routed[-1]
    facts = shipped_images(run)[-1]
    space, costs = RoutingSpace.of(run.config), run.record.costs
    recorded = image_route(run.routes, facts.name)
    steps = steps_of(recorded, space)
    size = {"height": costs.nominal_height, "width": costs.nominal_width}
    shown = flow(run.routes, [at_threshold(recorded, space, threshold)], config=run.config, **size)
    with looking(browser, origin) as (page, _):
        address = f"record={run.identity}&image={facts.name}&threshold={threshold}"
        page.goto(f"{origin}/routes/explorer.html#{address}")
        words = page.locator("#dr-headline").inner_text()
        assert f"{facts.name}: {macs_of(shown.total_macs, shown.table.all_open)} (" in words
        assert f"{sum(factor > 0 for factor in shown.factors.values())} of {len(steps)} paths" in words
        colors = page.locator(".dr-drawing:not([hidden]) [data-path]").evaluate_all(
            "paths => paths.map(path => path.getAttribute('stroke'))"
        )
    # Factors come in thousandths, so a colour may be one step of 256 off.
    open_ones = [(c, s) for c, s in zip(colors, steps, strict=True) if c]
    assert open_ones or threshold
    for color, step in open_ones:
        wanted = path_color(step / FACTOR_STEPS)
        assert all(abs(int(color[k : k + 2], 16) - int(wanted[k : k + 2], 16)) <= 1 for k in (1, 3, 5))


def test_the_explorer_by_touch(browser: Any, origin: str, book: Book) -> None:
    names = [image.name for image in shipped_images(book.results.routed[0])]
    with looking(browser, origin, size="mobile") as (page, seen):
        page.goto(f"{origin}/routes/explorer.html")
        page.locator("#dr-next").tap()
        assert kept(page)["image"] == names[1]
        page.locator("#dr-previous").tap()
        assert kept(page)["image"] == names[0]
        page.locator(f"#dr-costs [data-image='{len(names) - 1}']").dispatch_event("click")
        assert kept(page)["image"] == names[-1]
        assert seen.nothing(), seen


def test_the_address_brings_the_state_back(browser: Any, origin: str, book: Book) -> None:
    first, second = book.results.routed[0], book.results.routed[1]
    name = shipped_images(first)[3].name
    wanted = {
        "record": first.identity,
        "image": name,
        "threshold": "0.25",
        "versus": second.identity,
        "to": shipped_images(second)[2].name,
    }
    with looking(browser, origin) as (page, _):
        page.goto(f"{origin}/routes/explorer.html#" + "&".join(f"{key}={value}" for key, value in wanted.items()))
        assert kept(page) == wanted
        assert page.locator("#dr-threshold-value").inner_text() == "0.25"
        assert page.locator("#dr-compare").is_checked()
        page.goto(f"{origin}/routes/explorer.html#record=nothing&image=%3Cscript%3E&threshold=nan")
        page.wait_for_function("!location.hash.includes('nothing')")  # the page hears of a new address a moment later
        assert kept(page) == {"record": first.identity, "image": shipped_images(first)[0].name}


def test_the_explorer_works_from_a_file(browser: Any, origin: str, book: Book) -> None:
    with looking(browser, origin) as (page, seen):
        page.goto((book.pages / "routes" / "explorer.html").as_uri())
        page.locator("#dr-next").click()
        assert kept(page)["image"] == shipped_images(book.results.routed[0])[1].name
        assert seen.nothing(), seen


def test_without_javascript_a_picture_and_the_way_to_the_gallery_stand(browser: Any, origin: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{origin}/routes/explorer.html")
    assert page.locator("#dr-stage .dr-drawing").first.is_visible()
    assert not page.locator("#dr-controls").is_visible()
    page.locator("noscript a, .dr-explorer a[href='gallery.html']").first.click()
    assert page.url.endswith("routes/gallery.html")
    context.close()


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


def test_what_is_wrong_with_a_page_is_seen(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<html><body><div style='width:3000px'>wide</div><img src='missing.png'><img src='https://example.org/x.png'>"
        "<script>throw new Error('on purpose')</script></body></html>"
    )
    with served(tmp_path) as address, looking(browser, address) as (page, seen):
        page.goto(f"{address}/bad.html")
        assert overflow(page) > 1000
        found = " ".join(axe_violations(page, AXE))
        assert "image-alt" in found and "html-has-lang" in found
    assert seen.abroad == ["https://example.org/x.png"]
    assert any(re.fullmatch(r"404 .*/missing\.png", one) for one in seen.failed)
    assert any("on purpose" in one for one in seen.errors)
