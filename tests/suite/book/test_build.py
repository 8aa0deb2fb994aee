"""The builder refuses what it must not overwrite; the tests build the book once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dynroute_core.system.errors import UsageError
from dynroute_suite.book import build
from support import built_book


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds thesis\.tex"):
        build.stage(results=tmp_path, out=tmp_path, say=lambda text: None)
    assert (tmp_path / "thesis.tex").exists()


def test_workers_of_a_session_share_one_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def note(*, results: Path, out: Path, say: object) -> None:
        built.append(out)

    monkeypatch.setattr(built_book, "build", note)
    monkeypatch.setattr(built_book, "write_results", lambda results: None)
    with ThreadPoolExecutor(3) as pool:
        books = list(pool.map(built_book.built_once, [tmp_path] * 3))
    assert built == [tmp_path / "book" / "out"]
    assert len(set(books)) == 1
