"""Where a model's file is on this machine, and whether it is the right one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from fiqa.atomic import write_atomically
from fiqa_worker.errors import ModelError
from fiqa_worker.models.download import from_mirror
from fiqa_worker.models.registry import REGISTRY, Kind, Model, names_of
from fiqa_worker.settings import cache_dir

# The threshold of a detector that is given by path. It is YuNet's.
_PATH_THRESHOLD: Final = 0.7


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that may be loaded.

    Attributes:
        name: the name in results.
        path: the published file.
        sha256: the hash of the published file.
        kind: what the model does.
        threshold: the least confidence of a face, for a detector. 0 for a quality model.
        data: the bytes of the published file. They are kept so that the bytes that were verified are the bytes that are
            loaded. A prepared model has its prepared bytes here.
    """

    name: str
    path: Path
    sha256: str
    kind: Kind
    threshold: float
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """The state of one model on this machine."""

    model: Model
    path: Path
    state: Literal["verified", "missing", "refused"]


def local_dir(models_dir: str) -> Path:
    """Return the local folder of a FIQA_MODELS_DIR: the folder itself or, for an s3:// mirror, its cache.

    Raises:
        ModelError: the user has no home folder, and the path needs one.
    """
    if not models_dir.startswith("s3://"):
        return _expanded(models_dir)
    folder = cache_dir()
    if folder is None:
        raise ModelError(f"{models_dir}: there is no folder to copy models to: set XDG_CACHE_HOME to a writable folder")
    return folder


def find(name_or_path: str, kind: Kind, models_dir: str) -> ModelFile:
    """Find a model that is in the models folder, or given by path. Nothing is downloaded from the web.

    Args:
        name_or_path: a name in the registry, or the path of an .onnx file with the same interface.
        kind: what the model is needed for.
        models_dir: a folder, or an s3://bucket/prefix mirror. A missing file is copied from the mirror once.

    Raises:
        ModelError: the model is missing, is of the other kind, or is not the pinned file.
    """
    model = REGISTRY.get(name_or_path)
    if model is None:
        return _given(name_or_path, kind)
    if model.kind != kind:
        raise ModelError(f"{model.name} is a {model.kind} model, not a {kind} model: use {names_of(kind)}")
    found = find_known(model, models_dir)
    if found is None:
        raise ModelError(
            f"{model.name} is not in {models_dir}: run `fiqa models pull`, "
            f"or set FIQA_MODELS_DIR to the folder that holds {model.file}"
        )
    return found


def find_known(model: Model, models_dir: str) -> ModelFile | None:
    """Return the verified file of a registered model, or None if it is missing. A file of a mirror is copied first.

    Raises:
        ModelError: the file exists but is not the pinned one, or the mirror does not answer.
    """
    path = _path(model, models_dir)
    if path.is_file():
        data = read_file(path)
        if sha256_of(data) != model.sha256:
            raise ModelError(f"{path}: refused: {difference(model, data)}; delete it and run `fiqa models pull`")
        return as_file(model, path, data)
    if not model.urls or not models_dir.startswith("s3://"):
        return None
    copied = from_mirror(models_dir, model.file, max_bytes=model.bytes)
    if copied is None:
        return None
    if sha256_of(copied) != model.sha256:
        raise ModelError(f"{models_dir}: refused: {difference(model, copied)}")
    store(path, copied, remedy="set XDG_CACHE_HOME to a writable folder")
    return as_file(model, path, copied)


def verify(models_dir: str) -> list[ModelCheck]:
    """Check the local file of every registered model. Nothing is downloaded."""
    checks = []
    for model in REGISTRY.values():
        path = _path(model, models_dir)
        if not path.is_file():
            checks.append(ModelCheck(model, path, "missing"))
        else:
            is_right = sha256_of(read_file(path)) == model.sha256
            checks.append(ModelCheck(model, path, "verified" if is_right else "refused"))
    return checks


def as_file(model: Model, path: Path, data: bytes) -> ModelFile:
    """Describe a verified file of a registered model."""
    return ModelFile(model.name, path, model.sha256, model.kind, model.threshold, data)


def read_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None


def store(path: Path, data: bytes, *, remedy: str) -> None:
    """Write a file in one step. Its folder is created if it is missing.

    Raises:
        ModelError: it cannot be written. The message ends with the remedy.
    """
    try:
        write_atomically(path, [data])
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror}: {remedy}") from None


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def difference(model: Model, data: bytes) -> str:
    """Return a text for messages: these bytes are not the pinned file."""
    return f"this is not {model.file}: its SHA-256 is {sha256_of(data)[:12]}..., {model.sha256[:12]}... is expected"


def _given(path_text: str, kind: Kind) -> ModelFile:
    path = _expanded(path_text)
    if path.suffix.lower() != ".onnx":
        raise ModelError(f"there is no {kind} model {path_text}: use {names_of(kind)}, or the path of an .onnx file")
    data = read_file(path)
    sha256 = sha256_of(data)
    threshold = _PATH_THRESHOLD if kind == "detector" else 0.0
    return ModelFile(f"{path.stem}@{sha256[:8]}", path, sha256, kind, threshold, data)


def _path(model: Model, models_dir: str) -> Path:
    if model.urls:
        return local_dir(models_dir) / model.file
    return Path(str(resources.files("fiqa_worker").joinpath("models", "builtin", model.file)))


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # a user without a home folder
        raise ModelError(f"{path}: this user has no home folder: give the whole path") from None
