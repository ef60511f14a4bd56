"""Prepares a verified model: makes the form that sessions load, stores it, and checks its hash at every start."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from fiqa.atomic import write_atomically
from fiqa_worker.errors import ModelError
from fiqa_worker.models.locate import ModelFile, local_dir, sha256_of
from fiqa_worker.settings import cache_dir

_log = logging.getLogger(__name__)

# A part of the file names. Raise it with each change of the prepared form: files of an older version are not read.
PREPARED_VERSION: Final = 2


def prepared_dirs(models_dir: str) -> list[Path]:
    """Return the folders that may hold prepared models, best first.

    The models folder comes first, so that a read-only container image can hold prepared models. The user's cache folder
    comes second. A user without a home folder has no cache folder.

    Raises:
        ModelError: the user has no home folder, and `models_dir` needs one.
    """
    folders = [] if models_dir.startswith("s3://") else [local_dir(models_dir)]
    # A models folder that does not exist is not made here: its name may be a typo.
    return [*filter(Path.is_dir, folders), *filter(None, [cache_dir()])]


def prepare(model: ModelFile, *folders: Path) -> ModelFile:
    """Return a model in the form that sessions load. Its results are those of the published model.

    If the form was stored before, it is read. Otherwise it is made and stored. If no folder can be written, it is made
    for this process only, and a warning is logged once. `fiqa_worker.models.optimize` describes the form.

    Args:
        model: a model as `find` returned it.
        folders: the folders that may hold it, best first. It is stored in their subfolder `prepared`.

    Raises:
        ModelError: the file is not an ONNX model, or lacks the interface of its kind.
    """
    for folder in folders:
        if (stored := _stored(model, folder)) is not None:
            return replace(model, data=stored[1])
    data = _optimized(model)
    try:
        _store(model, data, folders)
    except ModelError as error:
        _warn_once(f"{error}. Until then, each process prepares its models in memory")
    return replace(model, data=data)


def is_prepared(model: ModelFile, *folders: Path) -> bool:
    """Return whether the prepared form of a model is stored in one of these folders, with the right content."""
    return any(_stored(model, folder) for folder in folders)


def store_prepared(model: ModelFile, *folders: Path) -> Path:
    """Store a prepared model in the first folder that has it already or can be written. Return its path.

    Raises:
        ModelError: see `prepare`; or no folder can be written.
    """
    return _store(model, _optimized(model), folders)


def _optimized(model: ModelFile) -> bytes:
    # Imported here, so that a worker with prepared models starts without onnx: this saves 0.08 s and 6 MB per process.
    from fiqa_worker.models.optimize import optimize  # noqa: PLC0415

    return optimize(model)


def _prefix(model: ModelFile) -> str:
    return f"{model.sha256[:32]}.{model.kind}.v{PREPARED_VERSION}."


def _stored(model: ModelFile, folder: Path) -> tuple[Path, bytes] | None:
    """Return the prepared file and its bytes. A file is removed if its content does not match the hash in its name."""
    try:
        names = sorted(name for name in os.listdir(folder / "prepared") if name.startswith(_prefix(model)))  # noqa: PTH208  names suffice
    except OSError:  # there is none yet, or this user may not read it
        return None
    for name in names:
        path = folder / "prepared" / name
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if name == f"{_prefix(model)}{sha256_of(data)}.onnx":
            return path, data
        _warn_once(
            f"prepared model refused, making it again: the content of {path} does not match the hash in its name"
        )
        with suppress(OSError):  # in a read-only folder it stays, and is refused each time
            path.unlink()
    return None


def _store(model: ModelFile, data: bytes, folders: Sequence[Path]) -> Path:
    """Write the prepared form into the first folder that can be written, unless that folder has it already."""
    reasons = []
    for folder in folders:
        if (stored := _stored(model, folder)) is not None:
            return stored[0]
        path = folder / "prepared" / f"{_prefix(model)}{sha256_of(data)}.onnx"
        try:
            write_atomically(path, [data])
        except OSError as error:
            reasons.append(f"{path.parent}: {error.strerror}")
        else:
            return path
    raise ModelError(
        f"prepared models cannot be stored ({'; '.join(reasons) or 'this user has no home folder'}): set"
        " FIQA_MODELS_DIR or XDG_CACHE_HOME to a writable folder, or run `fiqa models prepare` as a user who may write"
    )


@cache
def _warn_once(text: str) -> None:
    _log.warning("%s", text)
