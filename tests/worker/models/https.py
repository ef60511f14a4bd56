"""The answers of the https server of these tests."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler

CONTENT = b"stands for a model file" * 10_000


class Handler(BaseHTTPRequestHandler):
    stalled = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/plain":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/model.onnx")
            self.end_headers()
            return
        body = {"/model.onnx": CONTENT, "/other.onnx": CONTENT[::-1], "/long.onnx": CONTENT + b"!"}.get(self.path)
        if self.path == "/stalls":
            self.stalled.wait(20)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """Keep the output of the tests clean."""
