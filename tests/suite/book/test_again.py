"""A second build takes over what prose does not change, and refuses where anything else did."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.system.errors import UsageError
from dynroute_suite.book.again import renew_prose, require_only_prose_changed, write_stamp


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A book of two pages and a script, results with one file, and the folder of their build."""
    out, book, results = (tmp_path / name for name in ("out", "book", "results"))
    for folder in (out / "source", book, results):
        folder.mkdir(parents=True)
    for name in ("index.md", "idea.md", "explorer.js"):
        for place in (book, out / "source"):
            (place / name).write_text(name)
    (results / "record.json").write_text("{}")
    write_stamp(out, book, results)
    return out, book, results


def test_an_edited_page_is_renewed_and_no_other_touched(folders: tuple[Path, Path, Path]) -> None:
    out, book, results = folders
    before = (out / "source" / "idea.md").stat().st_mtime_ns
    (book / "index.md").write_text("another")
    require_only_prose_changed(out, book, results)
    assert renew_prose(book, out / "source") == ["index.md"]
    assert (out / "source" / "index.md").read_text() == "another"
    assert (out / "source" / "idea.md").stat().st_mtime_ns == before


@pytest.mark.parametrize("changed", ["results/record.json", "results/another.json", "book/new.md", "book/explorer.js"])
def test_what_is_more_than_an_edited_page_is_refused(folders: tuple[Path, Path, Path], changed: str) -> None:
    out, book, results = folders
    (out.parent / changed).write_text("other")
    with pytest.raises(UsageError, match="without --again"):
        require_only_prose_changed(out, book, results)


def test_a_page_taken_away_is_refused(folders: tuple[Path, Path, Path]) -> None:
    out, book, results = folders
    (book / "idea.md").unlink()
    with pytest.raises(UsageError, match="which pages there are"):
        require_only_prose_changed(out, book, results)


def test_a_folder_without_a_build_is_refused(folders: tuple[Path, Path, Path]) -> None:
    _, book, results = folders
    with pytest.raises(UsageError, match="holds no finished build"):
        require_only_prose_changed(book, book, results)
