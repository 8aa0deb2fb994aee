"""Shows a built book on this machine."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dynroute_core.system.errors import BlockedError


def serve(pages: Path, *, port: int) -> None:
    """Serves a folder of pages to this machine alone, until Ctrl-C. Raises BlockedError where there is no book."""
    if not (pages / "index.html").is_file():
        raise BlockedError(f"there is no book in {pages}: run `make book` first.")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(pages)))
    except OSError as error:
        raise BlockedError(f"cannot listen on port {port} ({error.strerror}): give another with --port.") from error
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
