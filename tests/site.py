"""A web site on loopback with one page and no robots.txt, for servers that fetch."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = "hello from the page"


@contextlib.contextmanager
def page() -> Iterator[str]:
    """The page's address; it says `WORDS`."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/page"
            self.send_response(200 if found else 404)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(f"<html><body><h1>{WORDS}</h1></body></html>".encode() if found else b"")

        def log_message(self, *_args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_port}/page"
        finally:
            site.shutdown()
            thread.join()
