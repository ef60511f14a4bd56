"""Shards: JSON lines in a gzipped file, and reading them in order."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Final

from fiqa.contract import ImageResult
from fiqa.errors import ContractError, StorageError
from fiqa.storage.layout import Part
from fiqa.storage.storage import Storage
from fiqa.window import in_order

_MAX_SHARD_BYTES: Final = 256 * 1024 * 1024
_MAX_SHARD_LINES: Final = 1_000_000
_READERS: Final = 8


def pack(lines: Iterable[bytes]) -> bytes:
    """Compress JSON lines into a shard. Equal lines make equal bytes."""
    return gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=6, mtime=0)


def unpack(data: bytes, name: str = "a shard") -> list[bytes]:
    """Return the JSON lines of a shard.

    Args:
        data: the shard as it was stored.
        name: what the error calls it.

    Raises:
        StorageError: it is not gzip, it is cut off, or it is larger than any shard that fiqa writes.
    """
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = inflate.decompress(data, _MAX_SHARD_BYTES)
    except zlib.error as error:
        raise StorageError(f"{name} is damaged: {error}") from None
    if not inflate.eof:
        raise StorageError(f"{name} is damaged: it is cut off, or larger than fiqa writes")
    if text.count(b"\n") > _MAX_SHARD_LINES:  # a list of empty lines takes far more memory than their bytes
        raise StorageError(f"{name} is damaged: it has more lines than fiqa writes")
    return text.splitlines()


def read_shard(storage: Storage, job_id: str, part: Part, chunk: int) -> list[bytes]:
    """Return the JSON lines of a chunk.

    Raises:
        StorageError: the shard cannot be read, or it is damaged.
    """
    return unpack(storage.read(job_id, part, chunk), _name(job_id, part, chunk))


def read_shards(
    storage: Storage, job_id: str, part: Part, chunks: Iterable[int]
) -> Generator[tuple[int, list[bytes]], None, None]:
    """Yield each chunk with its JSON lines, in the order of `chunks`. Threads read up to eight shards in advance.

    Raises:
        StorageError: a shard cannot be read, or it is damaged.
    """

    def read(chunk: int) -> bytes:
        return storage.read(job_id, part, chunk)

    # Shards are unpacked here and not in the threads: packed, eight of them take far less memory.
    with closing(in_order(read, chunks, threads=_READERS, name="read")) as shards:
        for chunk, data in shards:
            yield chunk, unpack(data, _name(job_id, part, chunk))


def read_results(
    storage: Storage, job_id: str, chunks: Iterable[int]
) -> Generator[tuple[int, list[ImageResult]], None, None]:
    """Yield each chunk with its results, in the order of `chunks`.

    Raises:
        StorageError: a shard cannot be read, or it is damaged.
        ContractError: a line is not a result.
    """
    with closing(read_shards(storage, job_id, "results", chunks)) as shards:
        for chunk, lines in shards:
            try:
                results = [ImageResult.decode(line) for line in lines]
            except ContractError as error:
                raise ContractError(f"{_name(job_id, 'results', chunk)}: {error}") from None
            yield chunk, results


def _name(job_id: str, part: Part, chunk: int) -> str:
    return f"{part} {chunk} of job {job_id}"
