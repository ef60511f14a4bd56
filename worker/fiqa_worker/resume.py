"""A file of results that `fiqa run` did not finish: what is in it, and what is left to score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fiqa_producer.contract import ImageResult, Item
from fiqa_producer.errors import ContractError, SettingsError

# How every result begins, as ImageResult writes it.
_BEGINS: Final = b'{"v":1,"uri":"'


def done_in(path: Path) -> Counter[int]:
    """How often each image has a result in a JSONL file; a last line that was cut off is taken out of it.

    Raises:
        SettingsError: it cannot be read and written, or holds anything else.
    """
    done: Counter[int] = Counter()
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(f"{path} is no file: --resume goes on with one")
        with path.open("r+b") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n") and line[: len(_BEGINS)] == _BEGINS[: len(line)]:
                    break
                done[_key(ImageResult.decode(line))] += 1
                end += len(line)
            file.truncate(end)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SettingsError(f"cannot go on with {path}: {error.strerror}") from error
    except ContractError:
        raise SettingsError(f"{path} holds something else than results: choose another file") from None
    return done


def left_of(items: Iterable[Item], done: Counter[int]) -> Iterator[Item]:
    """The items that have no result yet; of one that is listed twice as many as are missing."""
    for item in items:
        key = _key(item)
        if done[key]:
            done[key] -= 1
        else:
            yield item


def _key(of: Item | ImageResult) -> int:
    # Not the URI itself: there may be millions.
    return hash((of.uri, of.id, of.version))
