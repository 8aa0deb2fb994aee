"""The book is built once per test session, whichever worker needs it first; one browser looks at it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browser import CHROMIUM, FLAGS, served
from support.built_book import Book, built_once


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    own = tmp_path_factory.getbasetemp()
    return built_once(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="Playwright, which drives the browser, is not installed")
    with driver.sync_playwright() as running:
        window = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield window
        window.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that judges accessibility."""
    package = pytest.importorskip("axe_playwright_python", reason="axe, which judges accessibility, is not installed")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def origin(book: Book) -> Iterator[str]:
    with served(book.pages) as address:
        yield address
