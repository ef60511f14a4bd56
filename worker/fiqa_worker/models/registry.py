"""The model registry: which files are known, where they are, and that they are the right ones."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, Literal, TypeAlias

from fiqa_worker.errors import ModelError
from fiqa_worker.models.download import DownloadFailed, from_mirror, over_https
from fiqa_worker.settings import WorkerSettings

Kind: TypeAlias = Literal["detector", "quality"]

_GITHUB: Final = "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models"
_HUGGING_FACE: Final = "https://huggingface.co/opencv"
_PATH_THRESHOLD: Final = 0.7


@dataclass(frozen=True, slots=True)
class Model:
    """One known file.

    Attributes:
        file: its name in a models folder.
        bytes: its exact size.
        urls: where it can be downloaded, best first; empty for a file that is part of the package.
        threshold: a detector's least confidence of a face; 0 for a quality model.
    """

    name: str
    file: str
    bytes: int
    sha256: str
    license: str
    attribution: str
    urls: tuple[str, ...]
    kind: Kind
    threshold: float


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that may be loaded.

    Attributes:
        name: as results name it.
        threshold: a detector's least confidence of a face; 0 for a quality model.
    """

    name: str
    path: Path
    sha256: str
    kind: Kind
    threshold: float


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What is known of one model on this machine."""

    model: Model
    path: Path
    state: Literal["verified", "missing", "refused"]


REGISTRY: Final[dict[str, Model]] = {
    model.name: model
    for model in (
        Model(
            name="yunet_2023mar",
            file="face_detection_yunet_2023mar.onnx",
            bytes=232_589,
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            license="MIT",
            attribution="YuNet by Wei Wu, Hanyang Peng and Shiqi Yu, from OpenCV's model zoo",
            urls=(
                f"{_GITHUB}/face_detection_yunet/face_detection_yunet_2023mar.onnx",
                f"{_HUGGING_FACE}/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx",
            ),
            kind="detector",
            threshold=0.7,
        ),
        Model(
            name="ediffiqa_tiny_jun2024",
            file="ediffiqa_tiny_jun2024.onnx",
            bytes=7_272_678,
            sha256="9426c899cc0f01665240cb7d9e7f98e18e24e456c178326c771a43da289bfc6a",
            license="CC-BY-4.0",
            attribution="eDifFIQA(T) by Žiga Babnik, Peter Peer and Vitomir Štruc, from OpenCV's model zoo",
            urls=(
                f"{_GITHUB}/face_image_quality_assessment_ediffiqa/ediffiqa_tiny_jun2024.onnx",
                f"{_HUGGING_FACE}/face_image_quality_assessment_ediffiqa/resolve/main/ediffiqa_tiny_jun2024.onnx",
            ),
            kind="quality",
            threshold=0.0,
        ),
        Model(
            name="builtin_detector",
            file="builtin-detector.onnx",
            bytes=475_407,
            sha256="539f05d6b74d07befeddc327b4e30ebfb5d377228ef444c0917cb30bfb6d481b",
            license="Apache-2.0",
            attribution="the fiqa project",
            urls=(),
            kind="detector",
            threshold=0.8,
        ),
        Model(
            name="builtin_quality",
            file="builtin-quality.onnx",
            bytes=1_080_449,
            sha256="e83bbd6746058d173b6b08ad477dbaefdadf6ca3612821e293931be13f5fa0bc",
            license="Apache-2.0",
            attribution="the fiqa project",
            urls=(),
            kind="quality",
            threshold=0.0,
        ),
    )
}

_STAND_INS: Final = {"yunet_2023mar": "builtin_detector", "ediffiqa_tiny_jun2024": "builtin_quality"}


def default_cache_dir() -> Path:
    """The folder of this user's model files where FIQA_MODELS_DIR names none."""
    return Path(WorkerSettings.model_fields["models_dir"].get_default(call_default_factory=True))


def local_dir(models_dir: str) -> Path:
    """The folder on this machine that belongs to a FIQA_MODELS_DIR: itself, or the cache of an s3:// mirror."""
    return default_cache_dir() if models_dir.startswith("s3://") else Path(models_dir).expanduser()


def find(name_or_path: str, kind: Kind, models_dir: str) -> ModelFile:
    """Find a model that is already there; nothing is downloaded from the web.

    Args:
        name_or_path: a name of the registry, or the path of an .onnx file of the same interface, used as it is.
        kind: what the model is wanted for.
        models_dir: a folder, or an s3://bucket/prefix mirror of one, from which a missing file is copied once.

    Raises:
        ModelError: it is missing, of the other kind, or not the pinned file.
    """
    model = REGISTRY.get(name_or_path)
    if model is None:
        return _given(name_or_path, kind)
    if model.kind != kind:
        raise ModelError(f"{model.name} is a {model.kind} model, and a {kind} model is wanted: {_names(kind)}")
    found = _stored(model, models_dir)
    if found is None:
        raise ModelError(
            f"{model.name} is not in {models_dir}: run `fiqa models pull`, "
            f"or set FIQA_MODELS_DIR to the folder that holds {model.file}"
        )
    return found


def fetch_or_builtin(
    models_dir: str, *, detector: str, quality_model: str, timeout_s: float = 5.0
) -> tuple[ModelFile, ModelFile, str | None]:
    """Find both models for a command that must also work offline.

    An official model that is not there is downloaded, in one attempt of `timeout_s` seconds for both; failing that, the
    built-in one stands in for it. Any other name or path is taken at its word, as `find` does.

    Returns:
        The detector, the quality model, and one line for the user where a built-in model stands in.

    Raises:
        ModelError: what `find` raises, except for an official model that is only missing.
    """
    wanted: tuple[tuple[str, Kind], ...] = ((detector, "detector"), (quality_model, "quality"))
    missing = [
        REGISTRY[name]
        for name, kind in wanted
        if name in _STAND_INS and REGISTRY[name].kind == kind and _stored(REGISTRY[name], models_dir) is None
    ]
    failed = _pull_at_once(missing, local_dir(models_dir), timeout_s)
    found_detector, found_quality = (
        find(_STAND_INS[name] if name in failed else name, kind, models_dir) for name, kind in wanted
    )
    if not failed:
        return found_detector, found_quality, None
    stand_ins = " and ".join(_STAND_INS[name] for name in failed)
    note = (
        f"using {stand_ins}, since {' and '.join(failed)} could not be downloaded: "
        "scores are not comparable with the official models' (`fiqa models pull` fetches those)"
    )
    return found_detector, found_quality, note


def pull(
    model: Model,
    models_dir: Path,
    *,
    timeout_s: float,
    attempts: int = 2,
    progress: Callable[[int], None] | None = None,
) -> ModelFile:
    """Download a model over https, verify it, and put it into the folder in one step.

    Args:
        model: one of the registry that has addresses.
        models_dir: is made if need be; a file that is already there and right is kept.
        timeout_s: for one download from one address.
        attempts: how often each address is tried.
        progress: called with the bytes read so far.

    Raises:
        ModelError: no address gave the pinned file; says which were tried, why each failed, and what to do.
    """
    path = models_dir / model.file
    if path.is_file() and _sha256(path.read_bytes()) == model.sha256:
        return _as_file(model, path)
    failures: dict[str, str] = {}
    for url in model.urls * attempts:
        try:
            data = over_https(url, max_bytes=model.bytes, timeout_s=timeout_s, progress=progress)
        except DownloadFailed as error:
            failures[url] = str(error)
            continue
        if _sha256(data) == model.sha256:
            write_atomically(path, data)
            return _as_file(model, path)
        failures[url] = _unlike(model, data)
    tried = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
    raise ModelError(
        f"{model.name} could not be downloaded ({tried}): put {model.file} into {models_dir} by hand, "
        "or set FIQA_MODELS_DIR to the folder that holds it"
    )


def verify(models_dir: str) -> list[ModelCheck]:
    """Check every model of the registry as it is on this machine; nothing is fetched."""
    checks = []
    for model in REGISTRY.values():
        path = _path(model, models_dir)
        if not path.is_file():
            checks.append(ModelCheck(model, path, "missing"))
        else:
            checks.append(ModelCheck(model, path, "verified" if _sha256(_read(path)) == model.sha256 else "refused"))
    return checks


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that every reader sees either nothing or all of it; its folder is made if need be.

    Raises:
        ModelError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            temporary.chmod(0o644)  # mkstemp's 0600 would lock out a worker that runs as another user
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror}: set FIQA_MODELS_DIR to a writable folder") from None


def _given(path_text: str, kind: Kind) -> ModelFile:
    path = Path(path_text).expanduser()
    if path.suffix != ".onnx":
        raise ModelError(f"no {kind} model is called {path_text}: use {_names(kind)}, or the path of an .onnx file")
    sha256 = _sha256(_read(path))
    threshold = _PATH_THRESHOLD if kind == "detector" else 0.0
    return ModelFile(name=f"{path.stem}@{sha256[:8]}", path=path, sha256=sha256, kind=kind, threshold=threshold)


def _names(kind: Kind) -> str:
    return " or ".join(model.name for model in REGISTRY.values() if model.kind == kind)


def _path(model: Model, models_dir: str) -> Path:
    if model.urls:
        return local_dir(models_dir) / model.file
    return Path(str(resources.files("fiqa_worker").joinpath("models", "builtin", model.file)))


def _stored(model: Model, models_dir: str) -> ModelFile | None:
    """The verified file, copied from the mirror if need be; None where it is missing.

    Raises:
        ModelError: a file of that name is there, but it is not the pinned one; or the mirror does not answer.
    """
    path = _path(model, models_dir)
    if not path.is_file():
        mirrored = bool(model.urls) and models_dir.startswith("s3://")
        data = from_mirror(models_dir, model.file, max_bytes=model.bytes) if mirrored else None
        if data is None:
            return None
        if _sha256(data) != model.sha256:
            raise ModelError(f"{models_dir}: refused: {_unlike(model, data)}")
        write_atomically(path, data)
        return _as_file(model, path)
    data = _read(path)
    if _sha256(data) != model.sha256:
        raise ModelError(f"{path}: refused: {_unlike(model, data)}; delete it and run `fiqa models pull`")
    return _as_file(model, path)


def _pull_at_once(models: list[Model], folder: Path, timeout_s: float) -> list[str]:
    """Pull the models side by side and return the names of those that did not come in time."""
    done: set[str] = set()

    def pull_one(model: Model) -> None:
        try:
            pull(model, folder, timeout_s=timeout_s, attempts=1)
        except ModelError:
            return  # the caller's note says what happens instead
        done.add(model.name)

    # Daemons, since a name look-up cannot be given a time limit; one that is late may still fill the cache.
    threads = [threading.Thread(target=pull_one, args=(model,), daemon=True) for model in models]
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [model.name for model in models if model.name not in done]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None


def _as_file(model: Model, path: Path) -> ModelFile:
    return ModelFile(name=model.name, path=path, sha256=model.sha256, kind=model.kind, threshold=model.threshold)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _unlike(model: Model, data: bytes) -> str:
    return f"this is not {model.file}: its SHA-256 is {_sha256(data)[:12]}..., {model.sha256[:12]}... is expected"
