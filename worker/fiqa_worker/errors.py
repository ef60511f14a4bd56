"""The errors that the worker raises on purpose.

FiqaError                    (fiqa.errors)
├── ModelError               a model is missing, is not the pinned file, or does not load: the worker does not start
│   └── ModelsUnavailable    the mirror of the models cannot be read now: the worker waits
├── SourceUnavailable        this worker cannot read a source now: the chunk is released, and no image fails
└── ImageFailure             one image cannot be scored: its result has the code, and the other images are scored
    ├── NotFound             not_found
    ├── AccessDenied         access_denied
    ├── SourceNotAllowed     source_not_allowed
    ├── FetchFailed          fetch_failed       retryable
    ├── FetchTimeout         fetch_timeout      retryable
    ├── TooLarge             too_large
    ├── UnsupportedFormat    unsupported_format
    ├── DecodeFailed         decode_failed
    └── TooManyPixels        too_many_pixels

time_limit, worker_crashed, manifest_lost and internal_error have no class: the worker never raises them, it only
records them.
"""

from __future__ import annotations

from typing import ClassVar

from fiqa.contract import ErrorCode
from fiqa.errors import FiqaError


class ModelError(FiqaError):
    """A model is missing, is not the pinned file, or does not load."""

    exit_status = 2


class ModelsUnavailable(ModelError):  # noqa: N818  a state that may pass
    """The s3:// mirror of the models cannot be read now."""

    exit_status = 1


class SourceUnavailable(FiqaError):  # noqa: N818  a state that may pass
    """This worker cannot read a source now. No image has failed: the worker may read it later, or another worker may.

    Attributes:
        root: the source, such as s3://bucket.
        reason: one line that says why, and what to do.
        lost_s: how many seconds it took to find this out.
    """

    def __init__(self, root: str, reason: str, *, lost_s: float = 0.0) -> None:
        super().__init__(f"cannot read {root}: {reason}")
        self.root = root
        self.reason = reason
        self.lost_s = lost_s


class ImageFailure(FiqaError):  # noqa: N818  it is an outcome of the image, not an error of the program
    """One image cannot be scored. The message is one sentence for the person who reads the result."""

    code: ClassVar[ErrorCode]


class NotFound(ImageFailure):
    code = ErrorCode.NOT_FOUND


class AccessDenied(ImageFailure):
    code = ErrorCode.ACCESS_DENIED


class SourceNotAllowed(ImageFailure):
    code = ErrorCode.SOURCE_NOT_ALLOWED


class FetchFailed(ImageFailure):
    code = ErrorCode.FETCH_FAILED


class FetchTimeout(ImageFailure):
    code = ErrorCode.FETCH_TIMEOUT


class TooLarge(ImageFailure):
    code = ErrorCode.TOO_LARGE


class UnsupportedFormat(ImageFailure):
    code = ErrorCode.UNSUPPORTED_FORMAT


class DecodeFailed(ImageFailure):
    code = ErrorCode.DECODE_FAILED


class TooManyPixels(ImageFailure):
    code = ErrorCode.TOO_MANY_PIXELS
