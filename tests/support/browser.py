"""Looking at pages in a real Chromium, driven by Playwright; what goes wrong on the way is written down, not raised."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Without these Chromium asks its maker's servers for updates, components and settings by itself.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"desktop": (1280, 900), "mobile": (390, 844)}
PATIENCE_MS = 60_000
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@dataclass
class Seen:
    """What a page did while it was looked at: requests to other hosts, failed responses, errors it reported."""

    abroad: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def nothing(self) -> bool:
        return not (self.abroad or self.failed or self.errors)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's address on this machine, for the time of a `with` block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def looking(browser: Any, origin: str, *, size: str = "desktop", theme: str = "light") -> Iterator[tuple[Any, Seen]]:
    """A fresh window, and what is seen in it. Requests that would leave this machine are noted and not made."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        has_touch=size == "mobile",
        reduced_motion="reduce",  # nothing is half way when it is looked at
    )
    context.set_default_timeout(PATIENCE_MS)
    seen = Seen()

    def decide(route: Any) -> None:
        address = route.request.url
        if address.startswith((origin, "data:", "blob:", "file:")):
            route.continue_()
            return
        seen.abroad.append(address)
        route.abort()

    page = context.new_page()
    page.route("**/*", decide)
    page.on("response", lambda r: seen.failed.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: seen.errors.append(str(e)))
    try:
        yield page, seen
    finally:
        context.close()


def overflow(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


def axe_violations(page: Any, script: str) -> list[str]:
    """What axe finds against WCAG A and AA, a line each with the first element concerned."""
    page.evaluate(script)
    found = page.evaluate(
        "tags => axe.run({runOnly: {type: 'tag', values: tags}, resultTypes: ['violations'], preload: false})", AXE_TAGS
    )
    return [f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:160]})" for one in found["violations"]]
