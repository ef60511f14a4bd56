"""A relay in front of a Redis. It can lead new connections elsewhere, or answer every command with an error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final

# What a client sends first: a Redis that is loading or part of a failing cluster takes these, too.
_HANDSHAKE: Final = frozenset({b"HELLO", b"AUTH", b"CLIENT", b"SELECT"})


class RedisRelay:
    """Runs in a thread.

    Attributes:
        upstream: the port that new connections lead to.
        answer: the error that commands are answered with, such as "LOADING Redis is loading"; None to pass them on.
        url: of the relay.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.answer: str | None = None
        self.refused = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    def start(self) -> None:
        self._thread.start()
        started: Future[asyncio.Server] = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        )
        self._server = started.result(10)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        if self._server:
            self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
