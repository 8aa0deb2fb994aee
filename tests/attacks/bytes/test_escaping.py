"""Hostile text in everything that the book shows, through every fragment: it is text there, and nothing else.

Fragments are rendered as the book renders them (CommonMark with HTML, tables, math); what is drawn raw is parsed too.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from dynroute_core.runs.record import CURVE, RECORD, ROUTES, Record, read_record, write_curve, write_record
from dynroute_core.system.errors import BlockedError
from dynroute_core.system.strict_json import to_json
from dynroute_suite.book.build import _copy_records
from dynroute_suite.book.explorer.page import SCRIPTS, explorer_block
from dynroute_suite.book.fragments import fragments, text_of
from dynroute_suite.book.row_head import overview
from dynroute_suite.figures.run import class_iou_figure, cost_figure
from dynroute_suite.notebook.document import Cell, Dress, normalise
from dynroute_suite.report import side_by_side, tables
from dynroute_suite.report.failures import FAILED
from dynroute_suite.report.results import Results
from dynroute_suite.report.speed_record import write_speed
from support.sample_notebooks import failed_notebook
from support.sample_records import published_protocol, sample_curve, sample_record, sample_routes
from support.sample_runs import FULL, SMALL
from support.sample_speed import RECORD as SPEED

EVIL = (
    "<img src=x onerror=dr1>\"><script>dr2</script>' onload='dr3' </figure></svg> [dr4](javascript:dr4) "
    "![dr4](http://evil.example) `dr5` $dr6$ **dr7** {raw}`dr8` <http://evil.example> | \\` ~~dr9~~"
)
BEGINNINGS = ("# ", "::: ", "- ", "1. ", "% ", "> ", "(x)= ", "+++ ")
HOSTILE_ROW = "dynamic-b"


def evil(number: int) -> str:
    return f"{BEGINNINGS[number % len(BEGINNINGS)]}{EVIL}{number}"


def hostile(record: Record) -> Record:
    """Every text of the record that a reader lets through is hostile."""
    config = dict(record.config)
    config["train"] = dict(config["train"]) | {EVIL: EVIL}  # type: ignore[call-overload]
    config["weights"] = {"file": f"{EVIL}.pth", "use": "start", "sha256": EVIL}
    config["title"] = EVIL
    names = [evil(number) for number in range(len(record.data.class_names))]
    iou = dict(zip(names, record.metrics.class_iou_percent.values(), strict=True))
    return replace(
        record,
        started=EVIL,
        config=config,
        data=replace(record.data, train_fingerprint=EVIL, val_fingerprint=EVIL, class_names=tuple(names)),
        source=replace(record.source, commit=EVIL, hash=EVIL),
        machine=replace(
            record.machine, device=EVIL, device_name=EVIL, backend=EVIL, versions={"torch": EVIL, EVIL: EVIL}
        ),
        metrics=replace(record.metrics, class_iou_percent=iou),
        images=tuple(replace(image, name=evil(number)) for number, image in enumerate(record.images)),
    )


@pytest.fixture
def results(tmp_path: Path) -> Results:
    for row, config, bias in (("dynamic-a", SMALL, -0.6), ("dynamic-c", FULL, 0.0)):
        folder = tmp_path / row / "demo-streets-seed0"
        folder.mkdir(parents=True)
        routes = sample_routes(config, row=row, bias=bias)
        images = tuple(replace(image, name=evil(number)) for number, image in enumerate(routes.images))
        (folder / ROUTES).write_bytes(to_json(replace(routes, row=EVIL, images=images)))
        write_record(folder / RECORD, hostile(sample_record(config, row=row, bias=bias)))
        write_curve(folder / CURVE, sample_curve(4))
    write_record(_made(tmp_path / "network-fix" / "full-cityscapes-seed0") / RECORD, _published())
    failed = _made(tmp_path / HOSTILE_ROW / "full-cityscapes-seed1")
    (failed / FAILED).write_bytes(failed_notebook("DeadKernelError", EVIL))
    (failed / "log.txt").write_text(EVIL)
    machine = replace(
        SPEED.machine,
        device=EVIL,
        device_name=EVIL,
        allocator=EVIL,
        commit=EVIL,
        versions={"torch": EVIL},
        instruction_set=EVIL,
    )
    goal = replace(SPEED.goals[0], text=evil(1))
    parts = ("open", "routes", "batch", "memory", "loading", "published", "demo")
    times = tuple(replace(SPEED.measurements[0], part=part, subject=EVIL, peak_mb=1.0) for part in parts)
    (tmp_path / "speed").mkdir()
    write_speed(
        tmp_path / "speed" / "one.json",
        replace(SPEED, title=evil(1), machine=machine, goals=(goal,), measurements=times),
    )
    return Results(tmp_path)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _published() -> Record:
    record = published_protocol(sample_record(row="network-fix"))
    return replace(record, machine=replace(record.machine, device_name=EVIL))


class Page(HTMLParser):
    """What a page consists of: elements with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.marked: list[str] = []  # what Markdown's own signs set apart

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(markdown: str) -> Page:
    """Markdown as the book renders it; raw blocks stand in it as HTML."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).use(dollarmath_plugin)
    page = Page()
    for number, part in enumerate(re.split(r"(?ms)^```\{raw\} html\n(.*?)^```$", markdown)):
        html = part if number % 2 else parser.render(part)
        page.marked += re.findall(r"<(?:code|strong|em|s|eq)[^>]*>dr\d|class=\"math[^>]*>[^<]*dr6", html)
        page.feed(html)
    page.close()
    return page


def require_harmless(markdown: str, what: str) -> Page:
    page = rendered(markdown)
    for tag, attributes in page.tags:
        told = f"{what}: <{tag} {attributes}>"[:300]
        assert tag != "img", told
        assert tag != "script" or attributes.get("type") == "application/json" or "src" in attributes, told
        assert not any(name.startswith("on") for name in attributes), told
        address = attributes.get("href", "") + attributes.get("src", "")
        assert "javascript:" not in address and not address.startswith("http://evil"), told
    signs = [found for found in page.marked if re.search(r"dr[5-9]", found)]
    assert not signs, f"{what}: {signs[:3]}"
    return page


def test_the_check_itself_finds_what_stands_unescaped() -> None:
    for text in (
        EVIL,
        f'<p title="{EVIL}">',
        f"| a |\n| --- |\n| {EVIL} |",
        "[a](http://evil.b)",
        "**dr7**",
        "`dr5`",
        "$dr6$",
        "~~dr9~~",
    ):
        with pytest.raises(AssertionError):
            require_harmless(text, "on purpose")


@pytest.mark.slow
def test_every_fragment_shows_hostile_text_as_text(results: Results) -> None:
    shown = 0
    for name, fragment in fragments().items():
        text = text_of(fragment, results)
        page = require_harmless(text, name) if "dr1" in text or "dr7" in text else rendered("")
        shown += "dr7" in page.text or any("dr7" in value for _, looks in page.tags for value in looks.values())
    print(f"fragments that show hostile text: {shown}")
    assert shown >= 15


def test_names_that_no_reader_lets_through_are_escaped_all_the_same(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Profile and data set: read_record refuses such names, and the pages do not rely on it."""

    def spoiled(path: Path) -> Record:
        record = read_record(path)
        return replace(record, profile=EVIL, key=EVIL, data=replace(record.data, name=EVIL))

    monkeypatch.setattr("dynroute_suite.report.results.read_record", spoiled)
    known = fragments()
    for name in (
        "routes/gallery",
        "routes/mean_routes",
        "routes/cost_by_class",
        "table/measured",
        "results/per_class",
        "routes/explorer",
    ):
        require_harmless(text_of(known[name], results), name)
    for one in results.committed:
        require_harmless(tables.comparison_markdown(one.record), "comparison")
        require_harmless(tables.settings_table(one.record.config), "settings")
        require_harmless(side_by_side.runs_table([one]), "runs")
        require_harmless(side_by_side.class_table([one]), "classes")
        for picture in (class_iou_figure(one.record), cost_figure(one.record)):
            require_harmless(picture.html, "figure")
        require_harmless(overview(one.record.row, results), "row")
    page = Page()
    page.feed(explorer_block(results.routed))
    assert [tag for tag, _ in page.tags].count("script") == 1 + len(SCRIPTS)  # its data and its programs
    require_harmless(overview(HOSTILE_ROW, results), "a failed row")


def test_a_notebooks_heading_and_failure_are_text() -> None:
    cell: Cell = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# One row"}
    dress = Dress(title=f"Dynamic-A, weights of {EVIL}", failure=(f"Dead{EVIL}", EVIL))
    made = normalise({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, dress)
    import json

    for found in json.loads(made)["cells"]:
        require_harmless("".join(found["source"]), found["id"])


def test_a_record_in_anothers_place_and_files_from_elsewhere_are_refused(results: Results, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-secret.txt"
    outside.write_text("secret")
    folder = tmp_path / "dynamic-a" / "demo-streets-seed0"
    (folder / "log.txt").symlink_to(outside)
    with pytest.raises(BlockedError, match=r"log\.txt leads out of"):
        _copy_records(results, tmp_path / "book")
    os.remove(folder / "log.txt")
    elsewhere = _made(tmp_path / "dynamic-raw" / "demo-streets-seed0")
    (elsewhere / RECORD).write_bytes((folder / RECORD).read_bytes())
    with pytest.raises(BlockedError, match="is a record of dynamic-a: it has to lie in the folder of that row"):
        _ = results.committed
    os.remove(elsewhere / RECORD)
    os.rename(tmp_path / HOSTILE_ROW / "full-cityscapes-seed1", tmp_path / HOSTILE_ROW / "a)<script>")
    with pytest.raises(BlockedError, match="rename this folder"):
        results.failures_of(HOSTILE_ROW)
