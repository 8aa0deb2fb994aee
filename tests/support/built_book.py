"""The book that the tests look at: built once, from the committed results and three made-up runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from dynroute_core.experiments import ROWS
from dynroute_core.runs.record import CURVE, RECORD, ROUTES, Record, read_record, write_curve, write_record
from dynroute_core.system.locks import locked
from dynroute_core.system.strict_json import to_json
from dynroute_suite.book.build import HTML, build
from dynroute_suite.report.failures import FAILED
from dynroute_suite.report.results import ROOT, Results
from support.html_pages import Page
from support.sample_notebooks import failed_notebook
from support.sample_records import published_protocol, sample_curve, sample_record, sample_routes

PUBLISHED_ROW, FAILED_ROW, BLOCKED_ROW, UNRUN_ROW = "dynamic-a", "dynamic-b", "network-fix", "dynamic-raw-imagenet"
EVIL = '<script>alert("1")</script> **x** | $y$ ``` [z](http://evil.example)'
_PUBLISHED_RUN = f"{PUBLISHED_ROW}/full-cityscapes-seed0"


@dataclass(frozen=True)
class Book:
    """A built book in its folder, with the results it was built from."""

    folder: Path

    @property
    def pages(self) -> Path:
        return self.folder / "out" / HTML

    @cached_property
    def results(self) -> Results:
        return Results(self.folder / "results")

    @property
    def made_up(self) -> Record:
        """The record of the published protocol's run that never was."""
        return read_record(self.results.folder / _PUBLISHED_RUN / RECORD)

    def page(self, name: str) -> Page:
        return Page(self.pages / f"{name}.html")

    def all_pages(self) -> Iterator[Page]:
        return (Page(path) for path in sorted(self.pages.rglob("*.html")))

    def records(self) -> dict[str, Record]:
        return {one.identity: one.record for one in self.results.committed}


def built_once(shared: Path) -> Book:
    """The book in a folder that all workers of a test session share: the first to come builds it, the others wait."""
    done = shared / "book-is-built"
    with locked(shared, name=".book", wait=True):
        if not done.exists():
            folder = shared / "book"
            shutil.rmtree(folder, ignore_errors=True)
            write_results(folder / "results")
            build(results=folder / "results", out=folder / "out", say=lambda text: None)
            done.touch()
    return Book(shared / "book")


def write_results(results: Path) -> None:
    """The committed results with a published run, a failed and a blocked one more, and a row that was not run."""
    shutil.copytree(ROOT / "results", results)
    shutil.rmtree(results / UNRUN_ROW, ignore_errors=True)  # it may have no run as it is
    _write_published_run(results / _PUBLISHED_RUN)
    for row, error, text in ((FAILED_ROW, "DeadKernelError", EVIL), (BLOCKED_ROW, "BlockedError", "no weights here")):
        shutil.rmtree(results / row, ignore_errors=True)  # a finished run would outweigh the failure
        folder = results / row / "full-cityscapes-seed3"
        folder.mkdir(parents=True)
        (folder / FAILED).write_bytes(failed_notebook(error, text))
        (folder / "log.txt").write_text(f"\x1b[32mlast words\x1b[0m {EVIL}\n")


def _write_published_run(folder: Path) -> None:
    """A run of the published protocol that never was, so that the main table has a number of ours."""
    model = ROWS[PUBLISHED_ROW].model
    record = published_protocol(sample_record(model, row=PUBLISHED_ROW, images=1, height=1024, width=2048))
    routes = sample_routes(model, row=PUBLISHED_ROW, images=1)
    (image,) = routes.images
    write_record(folder / RECORD, record)
    images = tuple(replace(image, name=facts.name) for facts in record.images)
    (folder / ROUTES).write_bytes(to_json(replace(routes, images=images)))
    write_curve(folder / CURVE, sample_curve())
