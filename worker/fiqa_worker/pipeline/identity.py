"""The fingerprint of all that decides scores. Results of workers with the same fingerprint can be compared."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fiqa_worker.models.locate import ModelFile
    from fiqa_worker.settings import WorkerSettings

# Raise it with each change of the code that changes scores, faces or landmarks of any image, from the first release on.
SCORING_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """The models, the device and the fingerprint of a pipeline.

    Attributes:
        detector: the model's name and the beginning of its SHA-256.
        quality_model: the same.
        device: where the models run: cpu, cuda and so on.
        fingerprint: a short hash of all that decides scores. The device is not a part of it.
    """

    detector: str
    quality_model: str
    device: str
    fingerprint: str


def identify(
    detector: ModelFile, quality_model: ModelFile, settings: WorkerSettings, *, threshold: float, device: str
) -> Identity:
    """Return the identity of a pipeline with these models and settings."""
    decisive = (
        SCORING_VERSION,
        detector.sha256,
        quality_model.sha256,
        settings.detect_size,
        threshold,
        str(settings.decode),
        str(settings.second_look),
        # A worker without this package would fail every HEIC image, faster than the others score them.
        find_spec("pillow_heif") is not None,
    )
    return Identity(
        detector=_with_hash(detector),
        quality_model=_with_hash(quality_model),
        device=device,
        fingerprint=hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:12],
    )


def _with_hash(model: ModelFile) -> str:
    # The name of a model that is given by path already has the hash.
    return model.name if "@" in model.name else f"{model.name}@{model.sha256[:8]}"
