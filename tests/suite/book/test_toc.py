"""The table of contents: every entry has a file, every page an entry."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dynroute_core.system.errors import UsageError
from dynroute_suite.book import toc


def book_folder(folder: Path, contents: dict[str, object], *pages: str) -> Path:
    (folder / "_toc.yml").write_text(yaml.safe_dump(contents))
    for page in pages:
        path = folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# x\n")
    return folder


CONTENTS = {"format": "jb-book", "root": "index", "parts": [{"caption": "A", "chapters": [{"file": "a/one"}]}]}


def test_an_entry_without_a_file_is_named(tmp_path: Path) -> None:
    folder = book_folder(tmp_path, CONTENTS, "index.md")
    with pytest.raises(UsageError, match=r"not there: a/one\. Write book/a/one\.md"):
        toc.check_toc(folder)


def test_what_an_editor_leaves_is_no_page(tmp_path: Path) -> None:
    folder = book_folder(tmp_path, CONTENTS, "index.md", "a/one.md", "a/.ipynb_checkpoints/one-checkpoint.ipynb")
    (folder / "a/.#one.md").symlink_to("somebody@somewhere.1234")
    toc.check_toc(folder)


def test_a_page_without_an_entry_is_named_or_becomes_a_draft(tmp_path: Path) -> None:
    folder = book_folder(
        tmp_path, CONTENTS, "index.md", "a/one.md", "b/two.ipynb", "_generated/x.md", "records/r/f.ipynb"
    )
    with pytest.raises(UsageError, match=r"leads to b/two\. Add `- file: b/two`"):
        toc.check_toc(folder)
    toc.check_toc(folder, draft=True)
    toc.check_toc(folder)  # it has an entry now


def test_a_pattern_covers_its_pages(tmp_path: Path) -> None:
    contents = {"format": "jb-book", "root": "index", "parts": [{"chapters": [{"glob": "rows/*"}]}]}
    toc.check_toc(book_folder(tmp_path, contents, "index.md", "rows/a.md"))
