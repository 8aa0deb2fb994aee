"""The book as it is built: its pages say what the records say."""

from __future__ import annotations

import json
import re

import pytest

from dynroute_core.experiments import ROWS
from dynroute_core.published import PUBLISHED
from dynroute_core.runs.record import RECORD, Record, read_record
from dynroute_suite.book.pages.results import accuracy_table, cost_table
from dynroute_suite.figures.style import ROW_LABELS
from dynroute_suite.report.failures import FAILED
from dynroute_suite.report.numbers import NOTHING, gmacs, percent, signed
from support.built_book import BLOCKED_ROW, EVIL, FAILED_ROW, PUBLISHED_ROW, UNRUN_ROW, Book
from support.html_pages import Page, Table

MAX_MB = 25

pytestmark = pytest.mark.slow


def numbers_of(table: Table) -> dict[str, list[str]]:
    return {line[0].text: [cell.text for cell in line[1:]] for line in table[1:]}


# What tables say


def test_the_main_table_says_what_the_paper_the_release_and_the_record_say(book: Book) -> None:
    table = book.page("results/table").table("mIoU %")
    assert [cell.text for cell in table[0][1:]] == ["paper", "release", "ours", "ours − paper", "ours − release", "n"]
    lines = numbers_of(table)
    assert set(lines) == {ROW_LABELS.get(row, row) for row in ROWS}
    for row in ROWS:
        published = PUBLISHED.get(row)
        paper, release, ours, *differences, n = lines[ROW_LABELS.get(row, row)]
        assert paper == percent(published.paper_miou_percent if published else None)
        assert release == percent(published.release_miou_percent if published else None)
        if row != PUBLISHED_ROW:
            assert (ours, *differences, n) == (NOTHING, NOTHING, NOTHING, "0")
            continue
        value = book.made_up.metrics.miou_percent
        assert published and published.paper_miou_percent and published.release_miou_percent
        assert (ours, n) == (f"{value:.1f}", "1")
        assert differences == [
            signed(value - published.paper_miou_percent),
            signed(value - published.release_miou_percent),
        ]


def test_each_published_cost_stands_beside_ours_in_its_own_accounting(book: Book) -> None:
    lines = numbers_of(book.page("results/table").table("GFLOPs"))
    costs, published = book.made_up.costs, PUBLISHED[PUBLISHED_ROW]
    paper, ours_paper, _, release, ours_repo, _ = lines[ROW_LABELS[PUBLISHED_ROW]]
    assert (paper, release) == (percent(published.paper_gmacs), percent(published.release_gmacs))
    assert ours_paper == f"{costs.paper.mean_macs / 1e9:.1f}"
    assert ours_repo == f"{costs.repo.mean_macs / 1e9:.1f}"


def opened(page: Page, href: str) -> Record:
    """The record that a link opens."""
    return read_record((page.path.parent / href).resolve())


def test_every_number_of_ours_opens_the_record_that_holds_it(book: Book) -> None:
    page = book.page("results/table")
    seen = []
    for table in [table for table in page.tables if table[0][0].text == "row"]:
        for _, seed, miou, mean, spread, bound, repo in table[1:]:
            record = opened(page, miou.links[0])
            costs = record.costs
            assert seed.text == str(record.seed)
            assert miou.text == percent(record.metrics.miou_percent)
            assert mean.text == gmacs(costs.paper.mean_macs)
            assert spread.text == f"{gmacs(costs.paper.min_macs)}–{gmacs(costs.paper.max_macs)}"
            assert (bound.text, repo.text) == (gmacs(costs.paper.all_open_macs), gmacs(costs.repo.mean_macs))
            assert {cell.links[0] for cell in (miou, mean, spread, bound, repo)} == {miou.links[0]}
            seen.append(record.label)
    apart = [record.label for record in book.records().values() if record != book.made_up]
    assert sorted(seen) == sorted(apart)


def test_the_class_table_says_what_the_records_say(book: Book) -> None:
    page = book.page("results/per-class")
    checked = 0
    for table in [table for table in page.tables if table[0][0].text == "IoU %"]:
        for line in table[1:-1]:
            for cell in line[1:]:
                if cell.text != NOTHING:
                    iou = opened(page, cell.links[0]).metrics.class_iou_percent
                    assert cell.text == percent(iou[line[0].text])
                    checked += 1
    assert checked >= len(book.made_up.metrics.class_iou_percent) - 1  # one class of the made-up run never occurs


def test_the_execution_page_says_what_the_records_say(book: Book) -> None:
    page = book.page("execution/times")
    (table,) = [table for table in page.tables if table[0][0].text == "row" and len(table[0]) == 8]
    assert len(table) - 1 == len(book.records())
    for line in table[1:]:
        record = opened(page, line[3].links[0])
        assert line[3].text == str(record.machine.threads)
        assert float(line[4].text) == pytest.approx(record.durations.train_s / 60, abs=0.05)  # one decimal from 10 on


# Small runs stay apart


def strangers(table: str, records: dict[str, Record]) -> list[str]:
    """The runs of another protocol that a table links to."""
    apart = {name for name, record in records.items() if (record.profile, record.data.name) != ("full", "cityscapes")}
    return sorted(name for name in apart if f"/records/{name}/" in table)


def test_no_small_run_stands_in_a_published_table(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    records = book.records()
    for make in (accuracy_table, cost_table):
        assert strangers(make(book.results), records) == []
        assert f"/records/{PUBLISHED_ROW}/full-cityscapes-seed0/" in make(book.results)
    monkeypatch.setattr("dynroute_suite.book.pages.results.is_comparable", lambda record: True)
    assert strangers(accuracy_table(book.results), records), "this test could not fail"


# Row pages


def test_every_row_has_a_page_of_its_own_title(book: Book) -> None:
    titles = [next(iter(re.findall("<h1>(.*?)<", (book.pages / f"rows/{row}.html").read_text()))) for row in ROWS]
    assert titles == [ROWS[row].title for row in ROWS]


def test_a_row_page_shows_each_of_its_runs_and_names_it(book: Book) -> None:
    for name, record in book.records().items():
        page = book.page(f"rows/{record.row}")
        assert f"{record.profile.capitalize()} profile on {record.data.name}, seed {record.seed}" in page.text, name
        assert f"{record.label}: mIoU {record.metrics.miou_percent:.2f} %" in page.text
        alts = [found.get("aria-label") or "" for tag, found in page.tags if tag == "figure"]
        assert sum(record.label in alt for alt in alts) == 3  # curve, classes, cost


def test_a_row_that_was_not_run_says_why_and_how(book: Book) -> None:
    page = book.page(f"rows/{UNRUN_ROW}")
    assert "not run yet" in page.text
    assert "ImageNet weights" in page.text
    assert f"python reproduce.py --row {UNRUN_ROW} --profile full --data cityscapes=FOLDER" in page.text
    assert "How it learned" not in page.text


def test_a_failed_row_shows_trace_log_and_next_step_and_nothing_of_it_runs(book: Book) -> None:
    page = book.page(f"rows/{FAILED_ROW}")
    assert "✕ the last run failed" in page.text
    assert "Next step. The kernel died" in " ".join(page.text.split())
    assert f"DeadKernelError: {EVIL}" in page.text
    assert f"last words {EVIL}" in page.text
    assert "\x1b" not in page.text
    links = [found.get("href") or "" for tag, found in page.tags if tag == "a"]
    assert not any("evil.example" in href for href in links)
    assert any(href.endswith(FAILED) for href in links)


def test_a_blocked_row_says_what_is_missing(book: Book) -> None:
    page = book.page(f"rows/{BLOCKED_ROW}")
    assert "■ data or weights were missing" in page.text
    assert "no weights here" in page.text


# The pages as files


def test_traces_stand_on_pages_of_failed_rows_alone(book: Book) -> None:
    holding = [page.path.relative_to(book.pages).as_posix() for page in book.all_pages() if "Traceback" in page.text]
    assert holding == [f"rows/{BLOCKED_ROW}.html", f"rows/{FAILED_ROW}.html"] or sorted(holding) == sorted(
        [f"rows/{FAILED_ROW}.html", f"rows/{BLOCKED_ROW}.html"]
    )


def test_no_page_loads_anything_from_the_network(book: Book) -> None:
    for page in book.all_pages():
        for tag, found in page.tags:
            for name in ("src", "srcset", "data", "poster"):
                assert not re.match("(https?:)?//", found.get(name) or ""), f"{page.path}: <{tag} {name}>"
            if tag == "link":
                assert not re.match("(https?:)?//", found.get("href") or ""), f"{page.path}: <link>"
    for sheet in book.pages.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_every_picture_has_a_text_alternative_that_is_no_path(book: Book) -> None:
    pictures = 0
    for page in book.all_pages():
        for tag, found in page.tags:
            if tag == "figure" and "dr-fig" in (found.get("class") or ""):
                assert len(found.get("aria-label") or "") > 20
                pictures += 1
            if tag == "img" and "logo" not in (found.get("class") or ""):
                alt = found.get("alt") or ""
                assert alt
                assert "/" not in alt, f"{page.path}: alt {alt!r} is a path"
    assert pictures > len(ROWS)


def test_formulas_are_written_and_equations_numbered(book: Book) -> None:
    page = book.page("idea/ten-minutes")
    assert sum(tag == "math" for tag, _ in page.tags) > 10
    assert all(found.get("alttext") for tag, found in page.tags if tag == "math")
    assert [number for number in range(1, 7) if f"({number})" not in page.text] == []


def test_the_book_is_small_and_its_contents_have_unique_names(book: Book) -> None:
    size = sum(path.stat().st_size for path in book.pages.rglob("*") if path.is_file())
    assert size < MAX_MB * 2**20
    sidebar = re.search(r'<nav class="bd-links[^>]*>(.*?)</nav>', (book.pages / "index.html").read_text(), re.DOTALL)
    assert sidebar
    names = re.findall(r'<a class="reference internal" href="([^"#]+)">\s*(.*?)\s*</a>', sidebar[1], re.DOTALL)
    titles = [title for _, title in names]
    assert len(titles) > 20
    assert len(set(titles)) == len(titles)


def test_records_can_be_had_whole(book: Book) -> None:
    offered = sorted(book.pages.glob(f"_downloads/*/{RECORD}"))
    given = [read_record(path).label for path in offered]
    assert sorted(given) == sorted(record.label for record in book.records().values())
    assert json.loads(next(book.pages.glob(f"_downloads/*/{FAILED}")).read_text())["cells"]
