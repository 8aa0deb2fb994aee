"""The pages that show modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.system.errors import UsageError
from dynroute_suite.book import code, sources


def test_a_source_page_holds_every_line_once() -> None:
    page = sources.source_page("losses")
    lines = [line for line in code.source_path("losses").read_text().splitlines() if line.strip()]
    assert [line for line in page.splitlines() if line in lines and line.strip()] == lines


def test_a_link_to_a_module_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("[x](/source/loss.md#budget)")
    with pytest.raises(UsageError, match=r"/source/loss\.md"):
        sources.write_source_pages(tmp_path)
