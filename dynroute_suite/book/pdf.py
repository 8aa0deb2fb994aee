"""One PDF of the whole book, with bookmarks and tags, printed by the system's Chromium; nothing is downloaded.

Takes the pages that `build` staged; builds them as a single page, and prints that. Playwright's own browsers are not
used: they would have to be fetched.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from dynroute_core.system.errors import BlockedError
from dynroute_suite.book.build import SOURCE, single_page

PDF = "dynroute.pdf"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PRINT_MS = 120_000


def chromium() -> str:
    """The path of the system's Chromium. Raises BlockedError where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise BlockedError("no Chromium on this machine, which prints the PDF. Debian, Ubuntu: apt-get install chromium.")


def write_pdf(out: Path) -> Path:
    """Prints the book staged in OUT to `OUT/dynroute.pdf`; gives the file.

    Raises BlockedError where Chromium or Playwright are missing, or nothing is staged.
    """
    browser = chromium()
    try:
        from playwright.sync_api import PdfMargins, sync_playwright
    except ImportError as error:
        raise BlockedError("Playwright, which drives Chromium, is missing: pip install playwright.") from error
    if not (out / SOURCE).is_dir():
        raise BlockedError(f"no book is staged in {out}: run `make book` first.")
    page_file = single_page(out) / "index.html"
    target = out / PDF
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = window.new_page()
        page.set_default_timeout(PRINT_MS)
        page.goto(page_file.resolve().as_uri())
        # Paper unfolds nothing.
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        page.emulate_media(media="print", color_scheme="light")
        margin = PdfMargins(top="16mm", bottom="16mm", left="16mm", right="16mm")
        page.pdf(path=target, format="A4", tagged=True, outline=True, print_background=True, margin=margin)
        window.close()
    return target
