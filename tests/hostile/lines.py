"""Mutations of what producers and workers read as text: manifest shards, source lists, items and results."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from copy import deepcopy
from typing import Any, Final

from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, ImageSize, Item, JobSpec, Status
from fiqa.storage.shards import pack

_FACE: Final = Face(
    box=(1.5, 2.5, 30.0, 40.0),
    confidence=0.9,
    landmarks=((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 10.0)),
    quality=0.7,
)
GOOD: Final = {
    Item: Item(uri="s3://bucket/photo.jpg", id="mine", version="3").encode(),
    ImageResult: ImageResult(
        uri="s3://bucket/photo.jpg",
        status=Status.SCORED,
        image=ImageSize(width=4, height=3),
        faces=(_FACE,),
        detector="a",
        quality_model="b",
    ).encode(),
    JobSpec: JobSpec(id="20260101-000000-abcdef", created=1.5, images=1, chunks=1).encode(),
}
FAILED: Final = ImageResult(
    uri="s3://bucket/photo.jpg",
    status=Status.FAILED,
    error=ImageError(code=ErrorCode.NOT_FOUND, message="no such object"),
    detector="a",
    quality_model="b",
).encode()
_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    2**63,
    1e308,
    "",
    "x" * 5000,
    "\0",
    "\ud800",
    "s3://",
    "file:///etc/passwd",
    "../../etc/passwd",
    "https://store/a.jpg?X-Amz-Signature=1",
    [],
    {},
    [[1, 2]] * 5,
    {"uri": "s3://b/k"},
)


def line(seed: int, number: int, good: bytes) -> bytes:
    """One hostile line, made from a good one."""
    dice = random.Random(f"{seed} {number}")  # noqa: S311  a corpus, no secret
    match dice.randrange(6):
        case 0:
            return good[: dice.randrange(len(good))]
        case 1:
            return flipped(good, dice)
        case 2:
            return dice.choice(
                (b"", b"null", b"[]", b"5", b'"x"', b"[" * 50_000, b'{"a":' * 20_000, b"NaN", b"1" * 9000)
            )
        case _:
            fields: dict[str, Any] = json.loads(good)
            for _ in range(dice.choice((1, 1, 3))):
                where = dice.choice(
                    [fields, *(value for value in fields.values() if isinstance(value, dict) and value)]
                )
                name = dice.choice([*where, "unknown"])
                if dice.random() < 0.3:
                    where.pop(name, None)
                else:
                    where[name] = deepcopy(dice.choice(_VALUES))
            return json.dumps(fields).encode()


def flipped(data: bytes, dice: random.Random) -> bytes:
    """The same with some bytes changed."""
    damaged = bytearray(data)
    for _ in range(dice.choice((1, 2, 20))):
        damaged[dice.randrange(len(damaged))] = dice.randrange(256)
    return bytes(damaged)


def shard(seed: int, number: int) -> bytes:
    """One hostile manifest shard."""
    dice = random.Random(f"{seed} {number}")  # noqa: S311  a corpus, no secret
    good = pack([GOOD[Item]] * dice.choice((1, 16, 256)))
    match dice.randrange(8):
        case 0:
            return good[: dice.randrange(len(good))]
        case 1 | 2:
            return flipped(good, dice)
        case 3:
            return good + dice.choice((good, b"\0" * 100, b"more"))
        case 4:
            return dice.randbytes(dice.choice((0, 1, 18, 1000)))
        case 5:
            return dice.choice(
                (zlib.compress(b"{}\n"), b"PK\x03\x04", b"{}\n", gzip.compress(b""), gzip.compress(b"\n" * 9))
            )
        case _:
            return pack(line(seed, number + part, GOOD[Item]) for part in range(3))
