"""The route explorer in a real browser: by keyboard, by touch, on a small screen, from an address and from a file.

Skipped, with the reason, where Chromium or Playwright are missing.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from dynroute_core.space import RoutingSpace
from dynroute_suite.book.explorer.data import FACTOR_STEPS, opening, shipped_images, steps_of
from dynroute_suite.figures.signs import path_color
from dynroute_suite.report.flow import flow, image_route
from dynroute_suite.report.numbers import macs_of
from dynroute_suite.report.routed_runs import RoutedRun
from dynroute_suite.report.threshold import at_threshold
from support.browser import CHROMIUM, axe_violations, looking, overflow
from support.built_book import Book

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian, Ubuntu: apt-get install chromium)"),
]

SMALLEST_TEXT_PX = 11


def kept(page: Any) -> dict[str, str]:
    """The state in the address, as the page itself has it: Playwright's `page.url` learns of it later."""
    return {name: values[0] for name, values in parse_qs(page.evaluate("location.hash.slice(1)")).items()}


def drawing(page: Any) -> str:
    shown: str = page.locator(".dr-drawing:not([hidden]) .dr-paths").evaluate("group => group.outerHTML")
    return shown


def opened_with(book: Book) -> RoutedRun:
    return book.results.routed[opening(book.results.routed)]


def chosen(page: Any, film: str = "dr-image") -> Any:
    return page.locator(f"#{film} :checked")


def test_the_explorer_by_keyboard_changes_picture_and_address(browser: Any, origin: str, book: Book) -> None:
    run = opened_with(book)
    names = [image.name for image in shipped_images(run)]
    with looking(browser, origin) as (page, seen):
        page.goto(f"{origin}/routes/explorer.html")
        assert kept(page) == {"record": run.identity, "image": names[0]}
        chosen(page).focus()
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
        chosen(page).focus()
        page.keyboard.press("End")
        assert kept(page)["image"] == names[-1]
        assert drawing(page) != before
        page.keyboard.press("Home")
        assert drawing(page) == before


def is_loaded(page: Any, selector: str) -> bool:
    page.wait_for_function("at => document.querySelector(at).complete", arg=selector)
    loaded: bool = page.locator(selector).first.evaluate("image => image.naturalWidth > 0")
    return loaded


def test_a_street_shows_photograph_segmentation_and_truth(browser: Any, origin: str) -> None:
    with looking(browser, origin) as (page, seen):
        page.goto(f"{origin}/routes/explorer.html")
        photo, over = "#dr-side .dr-stack img:first-child", "#dr-side .dr-stack img:nth-child(2)"
        assert is_loaded(page, photo) and is_loaded(page, over)
        assert page.locator(over).get_attribute("src").endswith("prediction.png")
        page.get_by_label("truth").check()
        assert is_loaded(page, over)
        assert page.locator(over).get_attribute("src").endswith("truth.png")
        page.locator("#dr-opacity").focus()
        page.keyboard.press("End")
        assert page.locator(over).evaluate("image => getComputedStyle(image).opacity") == "1"
        assert (kept(page)["over"], kept(page)["opacity"]) == ("truth", "100")
        page.get_by_label("nothing").check()
        assert page.locator(over).count() == 0
        assert seen.nothing(), seen


def test_a_row_shows_its_runs_alone(browser: Any, origin: str, book: Book) -> None:
    run = book.results.routed[-1]
    with looking(browser, origin) as (page, _):
        page.goto(f"{origin}/routes/explorer.html")
        page.locator("#dr-row").select_option(run.record.row)
        offered = page.locator("#dr-record option").all_inner_texts()
        runs = [one for one in book.results.routed if one.record.row == run.record.row]
        assert [f"{run.record.row} ({words})" for words in offered] == [one.record.label for one in runs]
        assert kept(page)["record"] in {one.identity for one in runs}


def test_two_images_stand_side_by_side_with_the_paths_that_differ(
    browser: Any, origin: str, axe: str, book: Book
) -> None:
    run = opened_with(book)
    space, first, last = RoutingSpace.of(run.config), shipped_images(run)[0], shipped_images(run)[-1]
    steps = [steps_of(image_route(run.routes, image.name), space) for image in (first, last)]
    differing = [name for name, one, other in zip(run.routes.paths, *steps, strict=True) if bool(one) != bool(other)]
    assert differing
    with looking(browser, origin) as (page, seen):
        page.goto(f"{origin}/routes/explorer.html")
        page.locator("#dr-compare").check()
        for side, image in (("#dr-side", first), ("#dr-side-b", last)):
            assert image.name in page.locator(f"{side} > p").first.inner_text()
            assert page.locator(f"{side} .dr-drawing").is_visible()
            assert is_loaded(page, f"{side} .dr-stack img")
        page.locator("#dr-difference summary").click()
        assert page.locator("#dr-apart-paths td:first-child").all_inner_texts() == differing
        page.locator("#dr-nearest").click()
        nearest = page.locator("#dr-apart-paths tr").count()
        assert kept(page)["to"] != first.name
        page.locator("#dr-farthest").click()
        assert page.locator("#dr-apart-paths tr").count() >= max(nearest, len(differing))
        assert axe_violations(page, axe) == []
        assert seen.nothing(), seen


def test_on_a_small_screen_the_diagram_scrolls_at_a_readable_size(browser: Any, origin: str) -> None:
    with looking(browser, origin, size="mobile") as (page, _):
        page.goto(f"{origin}/routes/explorer.html")
        stage = page.locator("#dr-stage")
        sizes = stage.locator("text").evaluate_all(
            "texts => texts.filter(text => text.checkVisibility())"
            ".map(text => text.getScreenCTM().a * parseFloat(getComputedStyle(text).fontSize))"
        )
        assert min(sizes) >= SMALLEST_TEXT_PX
        assert overflow(page) <= 0
        stage.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.getElementById('dr-stage').scrollLeft > 0")
        assert page.url.split("#")[0].endswith("routes/explorer.html"), "the theme's arrow keys left the page"


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
    names = [image.name for image in shipped_images(opened_with(book))]
    with looking(browser, origin, size="mobile") as (page, seen):
        page.goto(f"{origin}/routes/explorer.html")
        page.locator("#dr-next").tap()
        assert kept(page)["image"] == names[1]
        page.locator("#dr-previous").tap()
        assert kept(page)["image"] == names[0]
        page.locator("#dr-image label").nth(1).tap()
        assert kept(page)["image"] == names[1]
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
        "over": "truth",
        "opacity": "25",
    }
    with looking(browser, origin) as (page, _):
        page.goto(f"{origin}/routes/explorer.html#" + "&".join(f"{key}={value}" for key, value in wanted.items()))
        assert kept(page) == wanted
        assert page.locator("#dr-threshold-value").inner_text() == "0.25"
        assert page.locator("#dr-compare").is_checked()
        page.goto(f"{origin}/routes/explorer.html#record=nothing&image=%3Cscript%3E&threshold=nan")
        page.wait_for_function("!location.hash.includes('nothing')")  # the page hears of a new address a moment later
        first = opened_with(book)
        assert kept(page) == {"record": first.identity, "image": shipped_images(first)[0].name}


def test_the_explorer_works_from_a_file(browser: Any, origin: str, book: Book) -> None:
    with looking(browser, origin) as (page, seen):
        page.goto((book.pages / "routes" / "explorer.html").as_uri())
        page.locator("#dr-next").click()
        assert kept(page)["image"] == shipped_images(opened_with(book))[1].name
        assert is_loaded(page, "#dr-image img")
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
