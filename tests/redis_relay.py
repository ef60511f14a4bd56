"""A relay in front of a Redis. It can lead new connections elsewhere, or answer every command with an error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.relay import Relay

# What a client sends first: a Redis that is loading or part of a failing cluster takes these, too.
_HANDSHAKE: Final = frozenset({b"HELLO", b"AUTH", b"CLIENT", b"SELECT"})
_PUSHED: Final = b">"  # the first byte of a message that answers no command


class _Connection:
    """The answers that Redis still owes to one client."""

    def __init__(self) -> None:
        self.in_transaction = False
        self._owed = 0
        self._all_answered = asyncio.Event()
        self._all_answered.set()

    def sent(self, name: bytes) -> None:
        self.in_transaction = name == b"MULTI" or (self.in_transaction and name not in {b"EXEC", b"DISCARD"})
        self._owed += 1
        self._all_answered.clear()

    def answered(self) -> None:
        self._owed -= 1
        if not self._owed:
            self._all_answered.set()

    async def wait(self) -> None:
        await self._all_answered.wait()


class RedisRelay(Relay):
    """A relay that knows Redis's protocol.

    Answers come in the order of the commands, and a transaction is passed on as a whole or not at all, as in a real
    Redis. Otherwise a client would take one answer for another.

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
            connection = _Connection()
            answers = asyncio.create_task(_pump(up_reader, writer, connection))
            try:
                while True:
                    name, command = await _read_command(reader)
                    answer = self.answer
                    if answer and name not in _HANDSHAKE and not connection.in_transaction:
                        await connection.wait()
                        self.refused += 1
                        writer.write(f"-{answer}\r\n".encode())
                    else:
                        connection.sent(name)
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


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            answer = await _read_answer(reader)
            writer.write(answer)
            if not answer.startswith(_PUSHED):
                connection.answered()
            await writer.drain()
    writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes of the next answer, in RESP2 or RESP3."""
    head = await reader.readuntil(b"\r\n")
    kind, number = head[:1], head[1:-2]
    if kind in b"$=!":
        return head if number.startswith(b"-") else head + await reader.readexactly(int(number) + 2)
    if kind in b"*~>%|":
        parts = int(number) * (2 if kind in b"%|" else 1)
        return head + b"".join([await _read_answer(reader) for _ in range(parts)])
    return head
