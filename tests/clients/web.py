"""A web server on loopback, so that `fetch_url` has something real to fetch."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PAGE = """<!doctype html><html><head><title>Tide tables</title></head><body>
<h1>Tide tables</h1><p>High water at <b>Brest</b>: <a href="/brest">04:12</a>.</p></body></html>"""


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/tides"
        body = (PAGE if found else "no such page").encode()
        self.send_response(200 if found else 404)
        self.send_header("content-type", "text/html" if found else "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not told: stdout is for the checks."""


@contextmanager
def web() -> Iterator[str]:
    """Serves, and gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
