"""The known models: their files, sizes, hashes, licenses and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["detector", "quality"]

_GITHUB: Final = "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models"
_HUGGING_FACE: Final = "https://huggingface.co/opencv"


@dataclass(frozen=True, slots=True)
class Model:
    """One known model.

    Attributes:
        name: its name in settings and results.
        file: its file name in a models folder.
        bytes: the exact size of the file.
        sha256: the pinned hash of the file. A file with another hash is refused.
        license: its SPDX identifier.
        attribution: who made it.
        urls: the addresses of the file, best first. Empty for a model that is part of the package.
        kind: what it does.
        threshold: the least confidence of a face. 0 for a quality model.
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

# The built-in model that `run`, `demo` and `score` use instead of an official one, on a machine without network.
FALLBACKS: Final = {"yunet_2023mar": "builtin_detector", "ediffiqa_tiny_jun2024": "builtin_quality"}


def names_of(kind: Kind) -> str:
    """List the models of a kind for a message: `yunet_2023mar or builtin_detector`."""
    return " or ".join(model.name for model in REGISTRY.values() if model.kind == kind)
