"""The wire format, version 1: items in, results out; and the names that producers and workers share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from fiqa.errors import ContractError, first_problem

WIRE_VERSION: Final = 1
DEFAULT_NAMESPACE: Final = "fiqa"
TASK_NAME: Final = "fiqa.score_chunk"
REDIS_STORAGE: Final = "redis"  # the URL of the storage in Redis

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")

MAX_URI_CHARS: Final = 4096
MAX_ID_CHARS: Final = 1024
MAX_VERSION_CHARS: Final = 1024

Uri: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URI_CHARS)]
CallerId: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_ID_CHARS)]
Version: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=MAX_VERSION_CHARS)]
Point: TypeAlias = tuple[float, float]

_ABSENT: Final = Field(exclude_if=lambda value: value is None)  # then a line does not have the field


class _Open(StrEnum):
    """Names to which a newer version may add. An unknown name is kept as it is, and is not equal to a known name."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member


class Status(StrEnum):
    """The outcome of an image. "No face" is an outcome, not an error."""

    SCORED = "scored"
    NO_FACE = "no_face"
    FAILED = "failed"


class ErrorCode(_Open):
    """Why an image failed. An image with a code in RETRYABLE may succeed the next time."""

    NOT_FOUND = "not_found"
    ACCESS_DENIED = "access_denied"
    SOURCE_NOT_ALLOWED = "source_not_allowed"
    FETCH_FAILED = "fetch_failed"
    FETCH_TIMEOUT = "fetch_timeout"
    TOO_LARGE = "too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    DECODE_FAILED = "decode_failed"
    TOO_MANY_PIXELS = "too_many_pixels"
    TIME_LIMIT = "time_limit"
    WORKER_CRASHED = "worker_crashed"
    MANIFEST_LOST = "manifest_lost"
    INTERNAL_ERROR = "internal_error"


RETRYABLE: Final = frozenset({ErrorCode.FETCH_FAILED, ErrorCode.FETCH_TIMEOUT, ErrorCode.INTERNAL_ERROR})


class Reason(_Open):
    """Why the quality of a face may be low, in the order of `reasons`; docs/measures.md has the limits."""

    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    TURNED_AWAY = "turned_away"
    TILTED = "tilted"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    UNEVEN_LIGHT = "uneven_light"
    CUT_OFF = "cut_off"
    SEVERAL_FACES = "several_faces"


class JobState(_Open):
    PREPARING = "preparing"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Priority(_Open):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


MAX_CHUNK_SIZE: Final = 10_000  # a whole chunk runs again if a worker dies, and a whole chunk is held in memory
DEFAULT_MAX_FAILED: Final = 0.5
DEFAULT_KEEP_S: Final = 7 * 24 * 3600.0


class _Wire(BaseModel):
    # Unknown fields are ignored, so that an older reader can read a newer writer.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def encode(self) -> bytes:
        """Return this value as one JSON line, without the line break."""
        return self.__pydantic_serializer__.to_json(self)

    @classmethod
    def decode(cls, line: bytes | str) -> Self:
        """Read one JSON line.

        Raises:
            ContractError: the line is not JSON, or does not hold such a value.
        """
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            where, problem = first_problem(error)
            raise ContractError(f"not a valid {cls.__name__}: {where or 'line'}: {problem}") from None


class Item(_Wire):
    """One image to score.

    Attributes:
        uri: where the image is.
        id: the caller's own name for it.
        version: version of the object in S3; None for the newest.
    """

    uri: Uri
    id: CallerId | None = None
    version: Version | None = None

    def encode(self) -> bytes:
        """Return this item as one JSON line, without the line break.

        Fields that are None are left out: there are millions of items.
        """
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class JobOptions(_Wire):
    """What a job asks of workers besides scores. The defaults ask for nothing.

    The meaning of an option never changes: a new meaning gets a new name. So a worker can detect options that it does
    not know. It reports them in each result as `not_applied`.

    Attributes:
        measures: measure each face, and give the reasons why it may be poor.
        min_face_px: only score faces of at least this size: the longer side of their box, in pixels.
        max_faces: only score this many faces of an image, the largest ones.
    """

    model_config = ConfigDict(extra="allow")  # options of a newer version

    measures: bool = False
    min_face_px: Annotated[int, Field(ge=1)] | None = None
    max_faces: Annotated[int, Field(ge=1)] | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Read options as the ledger holds them. Damaged ones count as one unknown option, `options`."""
        try:
            return cls.decode(text)
        except ContractError:
            return cls.model_validate({"options": text})

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of options that this version does not know."""
        return tuple(sorted(self.__pydantic_extra__ or ()))

    @property
    def asked(self) -> dict[str, Any]:
        """The options that differ from their defaults, by name."""
        return self.model_dump(exclude_defaults=True)


NO_OPTIONS: Final = JobOptions()


class JobSpec(_Wire):
    """What a job was submitted with. Its storage holds it as job.json, so that the ledger can be rebuilt.

    Attributes:
        created: Unix seconds.
        parent: the job whose failed images this job tries again.
        max_failed: the job is stopped if more than this share of its images failed, once at least 1,000 are done.
        keep_s: seconds until Redis forgets a finished job. If its storage is not Redis, its files stay there.
        images: number of images in the manifest, once the manifest is complete.
        chunks: number of chunks in the manifest, once the manifest is complete.
        chunk_sizes: images in each chunk, as "8x16 8x32 1x7"; empty if it is not known.
        any_worker: whether workers with different fingerprints may score it together.
        options: what it asks of workers besides scores.
    """

    v: Literal[1] = WIRE_VERSION
    id: str
    name: str | None = None
    priority: Priority = Priority.NORMAL
    created: float
    parent: str | None = None
    max_failed: Annotated[float, Field(ge=0, le=1)] = DEFAULT_MAX_FAILED
    keep_s: Annotated[float, Field(ge=1)] = DEFAULT_KEEP_S
    images: int = 0
    chunks: int = 0
    chunk_sizes: str = ""
    any_worker: bool = False
    options: JobOptions = NO_OPTIONS


class ImageSize(_Wire):
    """Size in pixels of the image as displayed (EXIF orientation applied)."""

    width: int
    height: int


class Face(_Wire):
    """One face. Coordinates are pixels of the image as displayed (EXIF orientation applied), origin top left.

    Attributes:
        box: x, y, width, height.
        confidence: of the detector, 0 to 1.
        landmarks: x and y of right eye, left eye, nose tip, right and left mouth corner; right and left are the
            subject's.
        quality: the raw output of the quality model. Scores of two models are not comparable.
        measures: the value under each name of fiqa.measures.MEASURES, None if it could not be measured. If the job did
            not ask for measures, this is None, and the line has neither this field nor `reasons`.
        reasons: why the quality may be low. They do not change it.
        turned: how far the face is turned clockwise, in degrees. If it is upright, the line has no such field.
    """

    box: tuple[float, float, float, float]
    confidence: float
    landmarks: tuple[Point, Point, Point, Point, Point]
    quality: float
    measures: Annotated[dict[str, int | float | None] | None, _ABSENT] = None
    reasons: Annotated[tuple[Reason, ...] | None, _ABSENT] = None
    turned: Annotated[Literal[90, 180, 270] | None, _ABSENT] = None

    @property
    def size_px(self) -> float:
        """The size of the face: the longer side of its box, in pixels. Turning the image does not change it."""
        return max(self.box[2:])


class ImageError(_Wire):
    """Why an image failed, as one code and one sentence."""

    code: ErrorCode
    message: str


class ImageResult(_Wire):
    """The result of one image of a job; one line of a result shard.

    Attributes:
        version: version of the object in S3 that the item named; if it named none, the line has no such field.
        faces: sorted by box area, largest first.
        faces_left_out: number of faces that were found, but not scored because of the job's options. If it is 0, the
            line has no such field.
        not_applied: options of the job that the worker did not know, since its version is older. If there are none, the
            line has no such field.
        detector: name of the model that found the faces.
        quality_model: name of the model that scored the faces.
        ms: milliseconds of decode, detection, alignment and scoring; 0 if none of them ran.
    """

    v: Literal[1] = WIRE_VERSION
    uri: Uri
    id: CallerId | None = None
    version: Annotated[Version | None, _ABSENT] = None
    status: Status
    image: ImageSize | None = None
    faces: tuple[Face, ...] = ()
    faces_left_out: Annotated[int, Field(ge=0, exclude_if=lambda number: not number)] = 0
    not_applied: Annotated[tuple[str, ...], Field(exclude_if=lambda names: not names)] = ()
    error: ImageError | None = None
    detector: str
    quality_model: str
    ms: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _status_fits(self) -> Self:
        if (self.status is Status.FAILED) != (self.error is not None):
            raise ValueError("an error belongs to status failed, and only there")
        if (self.status is Status.SCORED) != bool(self.faces):
            raise ValueError("faces belong to status scored, and only there")
        return self


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The values of a worker's models for two test images, at its start.

    Attributes:
        verdict: `passed`: both values are known and right. `noted`: a model has no known value. `differs`: see
            `warning`.
        quality: the quality model's score of a drawn face.
        confidence: the detector's confidence of the face in a portrait; 0 if it found none.
        warning: one line that says which value differs; empty if none does.
    """

    verdict: str = ""
    quality: float = 0.0
    confidence: float = 0.0
    warning: str = ""
