"""The book is built once per test session, whichever worker needs it first."""

from __future__ import annotations

import os

import pytest

from support.built_book import Book, built_once


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    own = tmp_path_factory.getbasetemp()
    return built_once(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)
