"""Whoever asks here for readiness is told no."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer


@contextmanager
def unready(port: int) -> Iterator[None]:
    """Answer 503 to everybody at this port of 127.0.0.1 while the context lasts."""
    with HTTPServer(("127.0.0.1", port), _Unready) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Unready(BaseHTTPRequestHandler):
    """Says 503."""

    def do_GET(self) -> None:
        # HAProxy does not wait for more than the status.
        with suppress(ConnectionError):
            self.send_response(503)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: that is no news."""
