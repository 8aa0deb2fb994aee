"""The book as it is built: its pages say what the records say."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from dynroute_core.experiments import ROWS
from dynroute_core.published import PUBLISHED
from dynroute_core.runs.record import RECORD, Record, read_record
from dynroute_suite.book.pages import table
from dynroute_suite.figures.style import ROW_LABELS
from dynroute_suite.report.failures import FAILED
from dynroute_suite.report.measured import CSV
from dynroute_suite.report.numbers import NOTHING, gmacs, percent, signed
from dynroute_suite.report.results import Results
from dynroute_suite.report.seeds import by_setting, mean_and_spread
from support.built_book import BLOCKED_ROW, EVIL, FAILED_ROW, PUBLISHED_ROW, UNRUN_ROW, Book
from support.html_pages import Page, Table

MAX_MB = 17

pytestmark = pytest.mark.slow


def numbers_of(lines: Table) -> dict[str, list[str]]:
    return {line[0].text: [cell.text for cell in line[1:]] for line in lines[1:]}


# What tables say


def test_the_main_table_says_what_the_paper_the_release_and_the_record_say(book: Book) -> None:
    lines = numbers_of(book.page("results/table").tables[0])
    known = {row: published for row, published in PUBLISHED.items() if published.paper_miou_percent is not None}
    assert set(lines) == {ROW_LABELS[row] for row in known}
    costs = book.made_up.costs
    ours = [f"{book.made_up.metrics.miou_percent:.1f}"]
    ours += [f"{cost.mean_macs / 1e9:.1f}" for cost in (costs.paper, costs.repo)]
    for row, published in known.items():
        theirs = [published.paper_miou_percent, published.paper_gmacs]
        theirs += [published.release_miou_percent, published.release_gmacs]
        assert lines[ROW_LABELS[row]] == [*map(percent, theirs), *(ours if row == PUBLISHED_ROW else [NOTHING] * 3)]


def test_each_difference_is_taken_in_its_own_accounting(book: Book) -> None:
    lines = numbers_of(book.page("results/table").table("ours − published"))
    record, published = book.made_up, PUBLISHED[PUBLISHED_ROW]
    pairs = (
        (record.metrics.miou_percent, published.paper_miou_percent),
        (record.metrics.miou_percent, published.release_miou_percent),
        (record.costs.paper.mean_macs / 1e9, published.paper_gmacs),
        (record.costs.repo.mean_macs / 1e9, published.release_gmacs),
    )
    assert lines == {ROW_LABELS[PUBLISHED_ROW]: [signed(ours - theirs) for ours, theirs in pairs if theirs]}


def test_without_a_run_by_the_protocol_there_is_no_column_of_ours(tmp_path: Path) -> None:
    text = table.published(Results(tmp_path))
    assert "ours" not in text.splitlines()[0]
    assert "there is no column of ours" in text


def test_a_row_without_a_published_number_stands_in_a_table_of_its_own(book: Book) -> None:
    (found,) = [one for one in book.page("results/table").tables if one[0][1].text == "state"]
    unpublished = [row for row in ROWS if PUBLISHED[row].paper_miou_percent is None]
    assert [line[0].text for line in found[1:]] == [ROWS[row].title for row in unpublished]


def opened(page: Page, href: str) -> Record:
    """The record that a link opens."""
    return read_record((page.path.parent / href).resolve())


def test_every_seed_opens_its_record_and_every_line_is_the_mean_over_them(book: Book) -> None:
    page = book.page("results/table")
    seen = []
    for found in page.tables:
        names = [cell.text for cell in found[0]]
        for line in found[1:] if "seeds" in names else []:
            seeds, miou, mean, spread, bound, repo = line[names.index("seeds") :]
            records = [opened(page, link) for link in seeds.links]
            costs = [record.costs for record in records]
            assert seeds.text.split() == [str(record.seed) for record in records]
            assert miou.text == mean_and_spread([record.metrics.miou_percent for record in records])
            assert mean.text == gmacs(fmean(cost.paper.mean_macs for cost in costs))
            bounds = min(cost.paper.min_macs for cost in costs), max(cost.paper.max_macs for cost in costs)
            assert set(spread.text.split("–")) == set(map(gmacs, bounds))
            assert bound.text == gmacs(costs[0].paper.all_open_macs)
            assert repo.text == gmacs(fmean(cost.repo.mean_macs for cost in costs))
            if len(records) == 1:
                assert opened(page, miou.links[0]) == records[0]
            seen += [record.label for record in records]
    apart = [record.label for record in book.records().values() if record != book.made_up]
    assert sorted(seen) == sorted(apart)


def test_the_csv_has_a_line_for_every_record(book: Book) -> None:
    page = book.page("results/table")
    (address,) = [href for _, found in page.tags if (href := found.get("href") or "").endswith(CSV)]
    lines = list(csv.DictReader((page.path.parent / address).read_text().splitlines()))
    for line, record in zip(lines, book.records().values(), strict=True):
        assert (line["row"], line["seed"]) == (record.row, str(record.seed))
        assert float(line["miou_percent"]) == record.metrics.miou_percent
        assert float(line["paper_macs_mean"]) == record.costs.paper.mean_macs


def test_the_class_table_says_what_the_records_say(book: Book) -> None:
    page = book.page("results/per-class")
    found = [one for one in page.tables if one[0][0].text == "IoU %"]
    for lines, runs in zip(found, book.results.groups.values(), strict=True):
        settings = by_setting(runs)
        for name, *cells in lines[1:-1]:
            for cell, same in zip(cells, settings, strict=True):
                values = [one.record.metrics.class_iou_percent[name.text] for one in same.runs]
                known = [value for value in values if value is not None]
                assert cell.text == (percent(fmean(known)) if known else NOTHING)
                if known and same.n == 1:
                    assert opened(page, cell.links[0]) == same.runs[0].record


def test_the_execution_page_says_what_the_records_say(book: Book) -> None:
    page = book.page("execution/times")
    (lines,) = [one for one in page.tables if one[0][0].text == "row" and len(one[0]) == 8]
    assert len(lines) - 1 == len(book.records())
    for line in lines[1:]:
        record = opened(page, line[3].links[0])
        assert line[3].text == str(record.machine.threads)
        assert float(line[4].text) == pytest.approx(record.durations.train_s / 60, abs=0.05)  # one decimal from 10 on


# Small runs stay apart


def rows_with_ours(text: str) -> list[str]:
    """The rows of the published table that have a number of ours."""
    lines = [line.strip("| ").split(" | ") for line in text.split("\n\n")[0].splitlines()[2:]]
    return [cells[0] for cells in lines if set(cells[5:]) != {NOTHING}]


def test_no_small_run_stands_in_a_published_table(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    text = table.published(book.results)
    assert rows_with_ours(text) == [table.row_link(PUBLISHED_ROW, table.row_label(PUBLISHED_ROW))]
    assert f"/records/{PUBLISHED_ROW}/full-cityscapes-seed0/" in text
    monkeypatch.setattr("dynroute_suite.book.pages.table.is_comparable", lambda record: True)
    assert len(rows_with_ours(table.published(book.results))) > 1, "this test could not fail"


# Row pages


def test_every_row_has_a_page_of_its_own_title(book: Book) -> None:
    titles = [next(iter(re.findall("<h1>(.*?)<", (book.pages / f"rows/{row}.html").read_text()))) for row in ROWS]
    assert titles == [ROWS[row].title for row in ROWS]


def test_a_row_page_shows_each_setting_once_and_lists_every_run(book: Book) -> None:
    for row in ROWS:
        page = book.page(f"rows/{row}")
        settings = by_setting(book.results.of_row(row))
        alts = [found.get("aria-label") or "" for tag, found in page.tags if tag == "figure"]
        assert sum(alt.startswith("IoU per class") for alt in alts) == len(settings)
        assert sum(alt.startswith("What came out") for alt in alts) == bool(settings)
        assert sum(alt.startswith("Mean route") for alt in alts) == len(settings)
        if settings:
            (files,) = [one for one in page.tables if one[0][0].text == "setting"]
            records = [opened(page, line[2].links[0]) for line in files[1:]]
            assert records == [run.record for same in settings for run in same.runs]


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
