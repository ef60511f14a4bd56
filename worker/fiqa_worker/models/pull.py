"""Downloads official models into the models folder, or chooses the built-in models as their fallback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from fiqa.errors import SettingsError
from fiqa_worker.errors import ModelError
from fiqa_worker.models.download import DownloadFailed, over_https
from fiqa_worker.models.locate import (
    ModelFile,
    as_file,
    difference,
    find,
    find_known,
    local_dir,
    read_file,
    sha256_of,
    store,
)
from fiqa_worker.models.registry import FALLBACKS, REGISTRY, Kind, Model


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
        model: a model of the registry that has addresses.
        models_dir: the folder. It is created if it is missing. If it has the pinned file already, nothing is
            downloaded.
        timeout_s: the limit for one download from one address.
        attempts: the number of tries of each address.
        progress: called with the number of bytes read so far.

    Raises:
        ModelError: no address gave the pinned file. The message gives the reason for each, and what to do.
    """
    path = models_dir / model.file
    if path.is_file():
        data = read_file(path)
        if sha256_of(data) == model.sha256:
            return as_file(model, path, data)
    failures: dict[str, str] = {}
    for url in model.urls * attempts:
        try:
            data = over_https(url, max_bytes=model.bytes, timeout_s=timeout_s, progress=progress)
        except DownloadFailed as error:
            failures[url] = str(error)
            continue
        if sha256_of(data) == model.sha256:
            store(path, data, remedy="set FIQA_MODELS_DIR to a writable folder")
            return as_file(model, path, data)
        failures[url] = difference(model, data)
    tried = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
    raise ModelError(
        f"{model.name} could not be downloaded ({tried}): put {model.file} into {models_dir} by hand, "
        "or set FIQA_MODELS_DIR to the folder that holds it"
    )


def fetch_or_builtin(
    models_dir: str,
    *,
    detector: str,
    quality_model: str,
    named: Mapping[str, str] = MappingProxyType({}),
    timeout_s: float = 5.0,
) -> tuple[ModelFile, ModelFile, str | None]:
    """Find both models for a command that must also work offline.

    An official model that is missing is downloaded, with one attempt and `timeout_s` seconds for both. If that fails,
    the built-in model is the fallback. Any other name or path has no fallback.

    Args:
        models_dir: a folder, or an s3://bucket/prefix mirror.
        detector: a name in the registry, or the path of an .onnx file.
        quality_model: the same for the quality model.
        named: the models that the user has named, each with its setting. These have no fallback.
        timeout_s: the limit for all downloads.

    Returns:
        The detector, the quality model, and one line for the user if a built-in model is used as the fallback.

    Raises:
        ModelError: see `find`. An official model that is missing is not an error, since it has a fallback.
        SettingsError: an official model that the user has named is missing and cannot be downloaded.
    """
    wanted: tuple[tuple[str, Kind], ...] = ((detector, "detector"), (quality_model, "quality"))
    missing = [
        REGISTRY[name]
        for name, kind in wanted
        if name in FALLBACKS and REGISTRY[name].kind == kind and find_known(REGISTRY[name], models_dir) is None
    ]
    failed = _pull_at_once(missing, local_dir(models_dir), timeout_s) if missing else []
    for name in failed:
        if name in named:
            raise SettingsError(
                f"{named[name]}: {name} is not in {models_dir} and could not be downloaded: run `fiqa models pull`, or"
                f" set {named[name]}={FALLBACKS[name]} to use the built-in model"
            )
    found_detector, found_quality = (
        find(FALLBACKS[name] if name in failed else name, kind, models_dir) for name, kind in wanted
    )
    if not failed:
        return found_detector, found_quality, None
    fallbacks = " and ".join(FALLBACKS[name] for name in failed)
    note = (
        f"using {fallbacks}, since {' and '.join(failed)} could not be downloaded: scores are not comparable with those"
        " of the official models (`fiqa models pull` downloads them)"
    )
    return found_detector, found_quality, note


def _pull_at_once(models: list[Model], folder: Path, timeout_s: float) -> list[str]:
    """Pull the models in parallel. Return the names of those that were not downloaded in time."""
    done: set[str] = set()

    def pull_one(model: Model) -> None:
        try:
            pull(model, folder, timeout_s=timeout_s, attempts=1)
        except ModelError:
            return  # the caller reports it
        done.add(model.name)

    # Daemon threads, because a name look-up has no time limit. A late download may still fill the cache.
    threads = [threading.Thread(target=pull_one, args=(model,), daemon=True) for model in models]
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [model.name for model in models if model.name not in done]
