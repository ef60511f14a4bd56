"""What people can do about each error code. The report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fiqa.contract import ErrorCode

ADVICE: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.NOT_FOUND: "The object, its bucket or the file does not exist: check the URI.",
    ErrorCode.ACCESS_DENIED: "The store denies access: check the worker's credentials and the bucket's policy.",
    ErrorCode.SOURCE_NOT_ALLOWED: (
        "The URI is not below a prefix of FIQA_ALLOWED_SOURCES: if workers may read it, add a prefix on all workers,"
        " then run fiqa retry JOB --all."
    ),
    ErrorCode.FETCH_FAILED: "The store or the network failed in three tries: run fiqa retry JOB, it may well succeed.",
    ErrorCode.FETCH_TIMEOUT: "The store or the file system took too long: run fiqa retry JOB, it may well succeed.",
    ErrorCode.TOO_LARGE: "The file is over FIQA_MAX_IMAGE_BYTES: raise that on all workers, or make the file smaller.",
    ErrorCode.UNSUPPORTED_FORMAT: (
        "The file is not a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF, nor a HEIC that the worker can read: convert it, or"
        " install the extra heif."
    ),
    ErrorCode.DECODE_FAILED: "The file is empty, cut off or damaged: upload it again.",
    ErrorCode.TOO_MANY_PIXELS: (
        "The image is over FIQA_MAX_IMAGE_PIXELS: raise that on all workers, or make the image smaller."
    ),
    ErrorCode.TIME_LIMIT: (
        "Decoding and scoring took longer than FIQA_IMAGE_TIME_LIMIT_S: raise that on all workers, or leave the image"
        " out."
    ),
    ErrorCode.WORKER_CRASHED: "Workers died while they processed this image: leave it out, and report it.",
    ErrorCode.MANIFEST_LOST: (
        "The list of these images is gone from the job's storage, or damaged: put the files of its manifest back and"
        " run fiqa repair JOB, or submit the images again."
    ),
    ErrorCode.INTERNAL_ERROR: (
        "A bug in fiqa: report it with the traceback from the worker's log. fiqa retry JOB may succeed."
    ),
}
