"""The FIQA_* settings of a worker: models, device, detection, limits, operation."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from fiqa.errors import SettingsError
from fiqa.settings import Settings

# `run`, `demo`, `score` and `report` may read all that their user may read.
OWN_SOURCES: Final = ("file:///", "s3://")


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Decode(StrEnum):
    FULL = "full"
    FAST = "fast"


class Switch(StrEnum):
    ON = "on"
    OFF = "off"


def _multiple_of_32(size: int) -> int:
    if size % 32:
        raise ValueError("must be a multiple of 32, since the detector's strides go up to 32")
    return size


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def cache_dir() -> Path | None:
    """Return this user's folder of model files. None, if there is neither a home folder nor XDG_CACHE_HOME."""
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "fiqa" / "models"
    except RuntimeError:  # no HOME, and no entry for this user in /etc/passwd
        return None


def _models_dir() -> str:
    folder = cache_dir()
    if folder is None:
        raise SettingsError("this user has no home folder: set FIQA_MODELS_DIR to a folder for the models")
    return str(folder)


class WorkerSettings(Settings):
    """The settings of a worker, read from the environment.

    Attributes:
        models_dir: a folder that holds, or will hold, the model files; or an s3://bucket/prefix mirror of one.
        detector: a name in the registry, or the path of an .onnx file with the same interface.
        quality_model: the same for the quality model.
        device: where the models run.
        detect_size: long side, in pixels, of the copy in which faces are detected. A multiple of 32.
        decode: full always decodes the whole image. If a JPEG is larger than detection needs, fast decodes it at a
            quarter or an eighth of its size. If a face is too small in that copy, it decodes the JPEG again.
        detect_threshold: least confidence of a face. None: the detector's own.
        second_look: on looks again at images without a face, and at faces that may be turned or tilted.
        max_image_bytes: size limit of an image file.
        max_image_pixels: size limit of a decoded image.
        image_time_limit_s: an image that takes longer to fetch ends as fetch_timeout; one that takes longer to decode
            and score ends as time_limit.
        allowed_sources: the URI prefixes that this worker may read, comma-separated. Files may be read only if a
            file:// prefix is listed.
        allowed_storages: the storages that this worker may open, comma-separated: URLs, or beginnings of URLs. None:
            `storage` and `redis`.
        drain_s: how long processes may take to end after SIGTERM. Their chunks are released at once.
        max_child_mb: a process that has ever held more MiB than this is replaced after its chunk. An image of 100
            megapixels takes 0.8 GB at its peak, or about twice that in AVIF. So on the CPU only a leak reaches the
            limit.
        health_dir: a folder for the files `alive` and `ready`. None: no files are written.
        metrics_port: the TCP port on which the worker serves its metrics. None: it serves none.
        log_format: text, or one JSON object per line.
    """

    models_dir: str = Field(default_factory=_models_dir)
    detector: str = "yunet_2023mar"
    quality_model: str = "ediffiqa_tiny_jun2024"
    device: Device = Device.AUTO
    detect_size: Annotated[int, Field(ge=64, le=4096), AfterValidator(_multiple_of_32)] = 640
    decode: Decode = Decode.FAST
    detect_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    second_look: Switch = Switch.ON
    max_image_bytes: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024
    max_image_pixels: Annotated[int, Field(gt=0)] = 100_000_000
    image_time_limit_s: Annotated[float, Field(gt=0)] = 60.0
    allowed_sources: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated), Field(min_length=1)] = (
        "s3://",
    )
    allowed_storages: Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_comma_separated)] = None
    drain_s: Annotated[float, Field(gt=0)] = 10.0
    max_child_mb: Annotated[int, Field(gt=0)] = 2048
    health_dir: Path | None = None
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    log_format: LogFormat = LogFormat.TEXT
