"""The PDF, without the browser that writes it; with it: test_browser.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.system.errors import BlockedError
from dynroute_suite.book import pdf


def test_without_chromium_the_pdf_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(BlockedError, match="apt-get install chromium"):
        pdf.write_pdf(tmp_path)
