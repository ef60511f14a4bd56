"""A verified model -> the file that sessions load, made once and cached."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fiqa_worker.models.registry import ModelFile, write_atomically

# Part of the cached files' names: a change of the surgery raises it, and files of an older one are no longer read.
PREPARED_VERSION: Final = 1


def prepare(model: ModelFile, cache_dir: Path) -> Path:
    """Make the form of a model that sessions load, or find it where it was made before.

    Args:
        model: as `find` returned it.
        cache_dir: the prepared file goes into its folder `prepared`, under a name made of the source's SHA-256.

    Returns:
        The prepared file. Its results are those of the source; fiqa_worker.models.optimize says what is changed.

    Raises:
        ModelError: the file is no ONNX model, lacks the interface of its kind, or the cache cannot be written.
    """
    path = cache_dir / "prepared" / f"{model.sha256}.{model.kind}.v{PREPARED_VERSION}.onnx"
    if not path.is_file():
        # Here, so that a worker whose models are prepared starts without onnx, in half a second less.
        from fiqa_worker.models.optimize import operate  # noqa: PLC0415

        write_atomically(path, operate(model))
    return path
