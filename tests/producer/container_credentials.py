"""A server of container credentials, like those of ECS and EKS. Its credentials come late."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ContainerCredentials(ThreadingHTTPServer):
    """Answers 500 until it is given a key.

    Attributes:
        key: access key and secret.
        valid_for: how long the credentials last, from now on.
        asked: how often it was asked.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key: tuple[str, str] | None = None
        self.valid_for = timedelta(hours=1)
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.server_port}/credentials"


class _Handler(BaseHTTPRequestHandler):
    server: ContainerCredentials

    def do_GET(self) -> None:
        self.server.asked += 1
        key = self.server.key
        if key is None:
            self.send_error(500)
            return
        expires = datetime.now(UTC) + self.server.valid_for
        answer = {"AccessKeyId": key[0], "SecretAccessKey": key[1], "Token": "t", "Expiration": expires.isoformat()}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def container_credentials() -> Iterator[ContainerCredentials]:
    with ContainerCredentials() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
