"""Counts the files and folders of a source that do not become items: other files, linked folders, and so on."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from fiqa.text import count

HIDDEN_FILE: Final = "hidden file"
HIDDEN_FOLDER: Final = "hidden folder"
LINKED_FOLDER: Final = "linked folder"
SYSTEM_FOLDER: Final = "system folder"
SYSTEM_FILE: Final = "system file"  # an object below such a folder
UNREADABLE_FOLDER: Final = "unreadable folder"
OLD_VERSION: Final = "old version"
DELETED_OBJECT: Final = "deleted object"
_OTHER: Final = "other file"

# Folders that network storage, desktops and file systems make for themselves: thumbnails, deleted files and snapshots.
_SYSTEM: Final = re.compile(
    r"(?:^|/)(?:@eaDir|@__thumb|@tmp|#recycle|@recycle|@recently-snapshot|#snapshot|~snapshot|\.snapshots?|\.zfs"
    r"|lost\+found|\.trash[^/]*|\$recycle\.bin|system volume information|found\.\d{3}|__macosx|\.appledouble"
    r"|network trash folder|\.@__thumb)/",
    re.IGNORECASE,
)
_SUFFIX: Final = re.compile(r"\.[a-z0-9]{1,8}")
_MAX_SUFFIXES: Final = 100
_MAX_SHOWN: Final = 12


class LeftOut:
    """Counts what is left out, by kind: a file suffix such as `.heic`, or words such as `linked folder`.

    Attributes:
        counts: how many of each kind.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, kind: str, name: str = "") -> None:
        """Count one of a kind.

        Args:
            kind: in the singular.
            name: an example of the kind. The first one is shown.
        """
        self.counts[kind] += 1
        if name:
            self._first.setdefault(kind, name)

    def add_file(self, name: str) -> None:
        """Count a file that is not an image, by its suffix."""
        suffix = PurePosixPath(name).suffix.lower()
        known = suffix in self.counts or len(self.counts) < _MAX_SUFFIXES
        self.counts[suffix if known and _SUFFIX.fullmatch(suffix) else _OTHER] += 1

    def __str__(self) -> str:
        """Return all in one line, the most frequent first: 5 .heic, 2 linked folders."""
        kinds = self.counts.most_common()
        parts = [self._described(kind, number) for kind, number in kinds[:_MAX_SHOWN]]
        if rest := sum(number for _, number in kinds[_MAX_SHOWN:]):
            parts.append(f"{rest:,} of other kinds")
        return ", ".join(parts)

    def _described(self, kind: str, number: int) -> str:
        first = self._first.get(kind)
        example = f" ({first})" if first and number == 1 else f" (the first is {first})" if first else ""
        return f"{count(number, kind, kind if kind.startswith('.') else '')}{example}"


def is_in_system_folder(path: str) -> bool:
    """Return whether a path, relative to its source, is below a folder that a system made for itself."""
    return _is_system(path[: path.rfind("/") + 1])


# Cached, since the keys of one folder follow one another: the pattern takes 4 us per key, and there are millions.
@lru_cache(maxsize=1024)
def _is_system(folders: str) -> bool:
    return _SYSTEM.search(folders) is not None
