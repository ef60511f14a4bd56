"""Shards: JSON lines in a gzipped file, and reading them in order."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Final

from fiqa.contract import ImageResult, Item
from fiqa.errors import ContractError, LostShardError
from fiqa.ledger.chunk_sizes import size_of
from fiqa.storage.layout import Part
from fiqa.storage.storage import Storage
from fiqa.text import count
from fiqa.window import in_order

_log = logging.getLogger(__name__)

_MAX_SHARD_BYTES: Final = 256 * 1024 * 1024
_MAX_SHARD_LINES: Final = 1_000_000
_READERS: Final = 8


def pack(lines: Iterable[bytes]) -> bytes:
    """Compress JSON lines into a shard. The same lines always give the same bytes."""
    return gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=6, mtime=0)


def unpack(data: bytes, name: str = "a shard") -> list[bytes]:
    """Return the JSON lines of a shard.

    Args:
        data: the shard as it was stored.
        name: what the error calls it.

    Raises:
        LostShardError: it is not gzip, it is cut off, or it is larger than any shard that fiqa writes.
    """
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = inflate.decompress(data, _MAX_SHARD_BYTES)
    except zlib.error as error:
        raise LostShardError(f"{name} is damaged: {error}") from None
    if not inflate.eof:
        raise LostShardError(f"{name} is damaged: it is cut off, or larger than fiqa writes")
    if text.count(b"\n") > _MAX_SHARD_LINES:  # a list of empty lines takes far more memory than their bytes
        raise LostShardError(f"{name} is damaged: it has more lines than fiqa writes")
    return text.splitlines()


def read_items(storage: Storage, job_id: str, chunk: int, size: int) -> list[Item]:
    """Return the items of a chunk.

    Args:
        storage: the job's.
        job_id: the job.
        chunk: the chunk.
        size: how many items it must have; 0 if that is not known.

    Raises:
        StorageError: the storage does not answer or refuses.
        LostShardError: the shard is gone, damaged, or has another number of items.
    """
    name = _name(job_id, "manifest", chunk)
    lines = _checked(storage.read(job_id, "manifest", chunk), "manifest", name, size)
    try:
        return [Item.decode(line) for line in lines]
    except ContractError as error:
        raise LostShardError(f"{name} is damaged: {error}") from None


def store_results(storage: Storage, job_id: str, chunk: int, results: list[ImageResult]) -> list[ImageResult]:
    """Store the results of a chunk once.

    Returns:
        The results that are stored. They may be those of an earlier attempt that died or lost its lease before it could
        count them. What is stored counts.

    Raises:
        StorageError: the storage does not answer or refuses.
    """
    shard = pack(result.encode() for result in results)
    if storage.write_once(job_id, "results", chunk, shard):
        return results
    name = _name(job_id, "results", chunk)
    try:
        return _results(name, _checked(storage.read(job_id, "results", chunk), "results", name, len(results)))
    except LostShardError as error:
        # It is not counted yet, and with a damaged shard this chunk could never be counted.
        _log.warning("the shard of an earlier attempt is replaced: %s", error)
        storage.replace(job_id, "results", chunk, shard)
        return results


def read_shards(
    storage: Storage,
    job_id: str,
    part: Part,
    chunks: Iterable[int],
    *,
    sizes: str = "",
    on_lost: Callable[[int, LostShardError], None] | None = None,
) -> Generator[tuple[int, list[bytes]], None, None]:
    """Yield each chunk with its JSON lines, in the order of `chunks`. Threads read up to eight shards in advance.

    Args:
        storage: the job's.
        job_id: the job.
        part: `manifest` or `results`.
        chunks: the chunks to read.
        sizes: the sizes of the job's chunks; empty if they are not known.
        on_lost: called with a chunk whose shard is gone or damaged; it is left out. None raises the error.

    Raises:
        StorageError: the storage does not answer or refuses.
        LostShardError: a shard is gone or damaged, and `on_lost` is None.
    """

    def read(chunk: int) -> bytes | LostShardError:
        try:
            return storage.read(job_id, part, chunk)
        except LostShardError as error:
            return error

    # Shards are unpacked here and not in the threads: packed, eight of them take far less memory.
    with closing(in_order(read, chunks, threads=_READERS, name="read")) as shards:
        for chunk, data in shards:
            try:
                lines = _checked(data, part, _name(job_id, part, chunk), size_of(chunk, sizes))
            except LostShardError as error:
                if on_lost is None:
                    raise
                on_lost(chunk, error)
            else:
                yield chunk, lines


def _checked(data: bytes | LostShardError, part: Part, name: str, size: int) -> list[bytes]:
    if isinstance(data, LostShardError):
        raise data
    lines = unpack(data, name)
    if size and len(lines) != size:
        raise LostShardError(
            f"{name} is damaged: it has {count(len(lines), 'line')}, its chunk has {count(size, 'image')}"
        )
    # A cheap check, since commands write most results without decoding them. Decoding takes a hundred times as long.
    if part == "results" and not all(line[:1] == b"{" and line[-1:] == b"}" and b'"uri"' in line for line in lines):
        raise LostShardError(f"{name} is damaged: a line is not a result")
    return lines


def read_results(
    storage: Storage,
    job_id: str,
    chunks: Iterable[int],
    *,
    sizes: str = "",
    on_lost: Callable[[int, LostShardError], None] | None = None,
) -> Generator[tuple[int, list[ImageResult]], None, None]:
    """Yield each chunk with its results, in the order of `chunks`. The arguments are those of `read_shards`.

    Raises:
        StorageError: the storage does not answer or refuses.
        LostShardError: a shard is gone or damaged, and `on_lost` is None.
    """
    with closing(read_shards(storage, job_id, "results", chunks, sizes=sizes, on_lost=on_lost)) as shards:
        for chunk, lines in shards:
            try:
                results = _results(_name(job_id, "results", chunk), lines)
            except LostShardError as error:
                if on_lost is None:
                    raise
                on_lost(chunk, error)
            else:
                yield chunk, results


def _results(name: str, lines: Iterable[bytes]) -> list[ImageResult]:
    try:
        return [ImageResult.decode(line) for line in lines]
    except ContractError as error:
        raise LostShardError(f"{name} is damaged: {error}") from None


def _name(job_id: str, part: Part, chunk: int) -> str:
    return f"{part} {chunk} of job {job_id}"
