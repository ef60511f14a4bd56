"""A relay in front of a Redis. It can lead new connections elsewhere, or answer every command with an error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.relay import Relay

# What a client sends first: a Redis that is loading or part of a failing cluster takes these, too.
_HANDSHAKE: Final = frozenset({b"HELLO", b"AUTH", b"CLIENT", b"SELECT"})


class RedisRelay(Relay):
    """A relay that knows Redis's protocol.

    Attributes:
        upstream: the port that new connections lead to.
        answer: the error that commands are answered with, such as "LOADING Redis is loading"; None to pass them on.
    """

    def __init__(self, upstream: int) -> None:
        super().__init__()
        self.upstream = upstream
        self.answer: str | None = None
        self.refused = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            answers = asyncio.create_task(_pump(up_reader, writer))
            try:
                while True:
                    name, command = await _read_command(reader)
                    if self.answer and name not in _HANDSHAKE:
                        self.refused += 1
                        writer.write(f"-{self.answer}\r\n".encode())
                    else:
                        up_writer.write(command)
                        await up_writer.drain()
            finally:
                answers.cancel()
                up_writer.close()
        writer.close()


@contextmanager
def relayed(upstream: int) -> Iterator[RedisRelay]:
    relay = RedisRelay(upstream)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


async def _read_command(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the name of the next command, and its bytes."""
    head = await reader.readuntil(b"\r\n")
    parts, words = [head], []
    for _ in range(int(head[1:])):
        size = await reader.readuntil(b"\r\n")
        word = await reader.readexactly(int(size[1:]) + 2)
        parts += [size, word]
        words.append(word[:-2])
    return words[0].upper(), b"".join(parts)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
