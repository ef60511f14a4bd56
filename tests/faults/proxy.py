"""An HTTP proxy between workers and S3 that breaks a share of the requests.

It forwards a request unchanged, including Host, since the signature covers it.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import suppress
from enum import StrEnum
from random import Random
from typing import Final

from tests.relay import Relay

_ANSWERS: Final = {
    "error": (500, "InternalError"),
    "slow_down": (503, "SlowDown"),
}
_CONNECTION: Final = re.compile(rb"(?im)^connection:.*\r\n")
_SIGNED_FOR: Final = re.compile(rb"(?im)^authorization: AWS4-HMAC-SHA256 Credential=[^/]+/\d+/([^/]*)/s3/")
_DRAIN_S: Final = 2.0
_DRIP_S: Final = 1.0


class S3Fault(StrEnum):
    ERROR = "error"  # 500
    SLOW_DOWN = "slow_down"  # 503
    TIMEOUT = "timeout"  # no response, until the client gives up
    CUT = "cut"  # the request is done; half of the response arrives, or nothing if it has no body
    DRIP = "drip"  # the request is done; its body arrives at one byte a second, until the proxy is healed


HELD: Final = "held"  # until the proxy is healed; then the request is done


class S3Proxy(Relay):
    """Each request has its own connection, so that one fault affects one request."""

    def __init__(self, upstream_port: int, seed: int) -> None:
        super().__init__()
        self._upstream_port = upstream_port
        self._random = Random(seed)
        self._fault: S3Fault | str | None = None
        self._share = 0.0
        self._method = b""
        self.delay_s = 0.0
        self.heads: deque[bytes] = deque(maxlen=1000)  # of the last requests
        self.expired_key = ""  # if it is set, requests that are signed with this key are refused as expired
        self.region = ""  # if it is set, a signature for another one is refused, as Amazon does
        self.broken = 0
        self._serving: set[asyncio.Task[None] | None] = set()  # asyncio itself keeps only weak references to tasks

    def break_requests(self, fault: S3Fault | str, share: float, method: bytes = b"") -> None:
        """From now on, let this share of the requests, or of the requests of one method, end in the fault."""
        self._method, self._share, self._fault = method, share, fault

    def heal(self) -> None:
        self._fault = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: asyncio.Task[None] | None = asyncio.current_task()
        self._serving.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            await asyncio.sleep(self.delay_s)
            fault = self._fault if self._random.random() < self._share and head.startswith(self._method) else None
            self.broken += fault is not None
            if self.region and region_of(head) not in {None, self.region}:
                await _refuse(reader, writer, 400, "AuthorizationHeaderMalformed", self.region)
            elif self.expired_key and f"Credential={self.expired_key}/".encode() in head:
                await _refuse(reader, writer, 400, "ExpiredToken")
            elif fault in _ANSWERS:
                await _refuse(reader, writer, *_ANSWERS[fault])
            elif fault is S3Fault.TIMEOUT:
                await _drain(reader)
            else:
                while fault == HELD == self._fault:  # noqa: ASYNC110  another thread sets it
                    await asyncio.sleep(0.02)
                await self._forward(head, reader, writer, fault)
        writer.close()
        self._serving.discard(task)

    async def _forward(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: S3Fault | str | None
    ) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        up_writer.write(_CONNECTION.sub(b"", head)[:-2] + b"Connection: close\r\n\r\n")
        sending = asyncio.create_task(_pump(reader, up_writer))
        try:
            if fault in {S3Fault.CUT, S3Fault.DRIP}:
                answer_head, _, body = (await up_reader.read()).partition(b"\r\n\r\n")
                if fault is S3Fault.DRIP:
                    await self._drip(answer_head + b"\r\n\r\n", body, writer)
                elif body:
                    writer.write(answer_head + b"\r\n\r\n" + body[: len(body) // 2])
                    await writer.drain()
            else:
                await _pump(up_reader, writer)
        finally:
            sending.cancel()
            up_writer.close()  # before the wait, which may be cancelled
            await asyncio.gather(sending, return_exceptions=True)

    async def _drip(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while body and self._fault is S3Fault.DRIP:
            writer.write(body[:1])
            await writer.drain()  # raises an error when the client has gone
            body = body[1:]
            await asyncio.sleep(_DRIP_S)
        writer.write(body)
        await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def region_of(head: bytes) -> str | None:
    """Return the region that a request was signed for; None if it was not signed."""
    found = _SIGNED_FOR.search(head)
    return found[1].decode() if found else None


async def _refuse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, code: str, region: str = ""
) -> None:
    where, region_line = (f"<Region>{region}</Region>", f"x-amz-bucket-region: {region}\r\n") if region else ("", "")
    body = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>broken on purpose</Message>{where}</Error>".encode()
    )
    writer.write(
        f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        f"{region_line}"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    with suppress(TimeoutError):  # read the rest of an upload, or the client would see a reset instead of the response
        await asyncio.wait_for(_drain(reader), _DRAIN_S)


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass
