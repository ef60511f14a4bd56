"""A folder as a source: its image files and those of its subfolders."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fiqa.errors import SourceError
from fiqa.sources.left_out import (
    HIDDEN_FILE,
    HIDDEN_FOLDER,
    LINKED_FOLDER,
    SYSTEM_FOLDER,
    UNREADABLE_FOLDER,
    LeftOut,
    is_in_system_folder,
)
from fiqa.sources.lines import is_image

# No permission to read a folder, or its path is too long. Any other error could mean that the disk is failing: if it
# were ignored, the job would silently lack images.
_UNREADABLE: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


def image_files(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    """Yield the image files of a folder and its subfolders, in order.

    Links to folders are not followed: they may lead in a circle.

    Args:
        folder: the source. It is read even if its name begins with a dot or is that of a system folder.
        left_out: counts what is not yielded.

    Raises:
        SourceError: the folder cannot be read, or a disk fails.
    """

    def count_or_fail(error: OSError) -> None:
        is_below = os.fspath(error.filename) != os.fspath(folder)
        if is_below and error.errno in _UNREADABLE:
            left_out.add(UNREADABLE_FOLDER, os.fspath(error.filename))
        elif not is_below or error.errno not in _GONE:  # a folder that was removed in the meantime has no images
            raise SourceError(f"{error.filename}: {error.strerror}") from error

    for parent, folders, names in os.walk(folder, onerror=count_or_fail):
        folders[:] = [name for name in sorted(folders) if _is_walked(parent, name, left_out)]
        for name in sorted(names):
            if not is_image(name):
                if not name.startswith("."):
                    left_out.add_file(name)
            elif name.startswith("."):
                left_out.add(HIDDEN_FILE)
            else:
                yield Path(parent, name)


def _is_walked(parent: str, name: str, left_out: LeftOut) -> bool:
    if is_in_system_folder(f"{name}/"):
        kind = SYSTEM_FOLDER
    elif name.startswith("."):
        kind = HIDDEN_FOLDER
    elif os.path.islink(os.path.join(parent, name)):  # noqa: PTH114, PTH118  a Path for each folder takes longer
        kind = LINKED_FOLDER
    else:
        return True
    left_out.add(kind, os.path.join(parent, name))  # noqa: PTH118  see above
    return False
