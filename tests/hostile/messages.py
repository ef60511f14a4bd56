"""Mutations of a ticket as it is in Redis. Each is made from a seed and a number alone, so it can be made again."""

from __future__ import annotations

import base64
import json
import pickle
import random
import string
from pathlib import Path
from typing import Any, Final

_TASKS: Final = ("os.system", "celery.backend_cleanup", "celery.chord", "celery.accumulate", "fiqa.score_chunk ", "", 5)
_CONTENT_TYPES: Final = (
    "application/x-python-serialize",
    "application/x-yaml",
    "application/x-msgpack",
    "text/plain",
    5,
)


class _Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


def pickled(canary: Path) -> str:
    """Return a message body that makes a file when it is unpickled."""
    return base64.b64encode(pickle.dumps(_Touch(canary))).decode()


def message(seed: int, number: int, ticket: bytes, canary: Path) -> bytes:
    """Return a hostile message, made from a good ticket."""
    dice = random.Random(f"{seed} {number}")  # noqa: S311  a corpus, not a secret
    fields: dict[str, Any] = json.loads(ticket)
    for _ in range(dice.choice((1, 1, 2, 4))):
        _change(fields, dice, canary)
    text = json.dumps(fields).encode()
    match dice.randrange(8):
        case 0:
            return text[: dice.randrange(len(text))]
        case 1:
            damaged = bytearray(text)
            for _ in range(dice.choice((1, 4, 40))):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            return bytes(damaged)
        case 2:
            return _nonsense(dice, canary)
        case _:
            return text


def _change(fields: dict[str, Any], dice: random.Random, canary: Path) -> None:
    where = dice.choice((fields, fields.get("headers"), fields.get("properties")))
    match dice.randrange(6):
        case 0 if isinstance(where, dict) and where:
            del where[dice.choice(list(where))]
        case 1 | 2 if isinstance(where, dict) and where:
            where[dice.choice([*where, "compression", "redelivered"])] = _value(dice)
        case 3:
            fields["content-type"] = dice.choice(_CONTENT_TYPES)
            fields["body"] = pickled(canary)
        case 4 if isinstance(fields.get("headers"), dict):
            fields["headers"]["task"] = dice.choice(_TASKS)
        case _:
            content = json.dumps([_value(dice), _value(dice), {"chain": [_value(dice)], "errbacks": _value(dice)}])
            fields["body"] = base64.b64encode(content.encode()).decode()


def _value(dice: random.Random) -> Any:
    return dice.choice(
        (
            None,
            dice.randrange(-(10**12), 10**12),
            1e308,
            "",
            "x" * dice.choice((1, 100, 100_000)),
            "2000-01-01T00:00:00",
            "9999-12-31T23:59:59",
            [],
            [0.001, 0.001],
            {},
            {"__type__": "datetime", "__value__": "never"},
            [[[[[]]]]],
            {"task": "os.system", "args": ["true"], "subtask_type": "chain"},
            "application/x-gzip",
            "rot13",
            True,
        )
    )


def _nonsense(dice: random.Random, canary: Path) -> bytes:
    return dice.choice(
        (
            b"",
            b"null",
            b"[]",
            b"{}",
            b"5",
            b"[" * 50_000,
            b"\xff\xfe\0",
            base64.b64decode(pickled(canary)),
            dice.randbytes(dice.choice((1, 100, 10_000))),
            "".join(dice.choices(string.printable, k=200)).encode(),
            b'{"headers": {}, "properties": {}, "body": ""}',
            b'"' + b"A" * 1_000_000 + b'"',
        )
    )
