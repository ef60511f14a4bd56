"""The light client of fiqa: enqueue bulk jobs of images, follow them, read their results."""

from fiqa.client import Client
from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, ImageSize, Item, JobState, Priority, Status
from fiqa.errors import (
    ContractError,
    FiqaError,
    JobStateError,
    RedisUnavailableError,
    SettingsError,
    SourceError,
    StorageError,
    UnknownJobError,
)
from fiqa.jobs.submit import Job
from fiqa.ledger.status import JobStatus

__all__ = [
    "Client",
    "ContractError",
    "ErrorCode",
    "Face",
    "FiqaError",
    "ImageError",
    "ImageResult",
    "ImageSize",
    "Item",
    "Job",
    "JobState",
    "JobStateError",
    "JobStatus",
    "Priority",
    "RedisUnavailableError",
    "SettingsError",
    "SourceError",
    "Status",
    "StorageError",
    "UnknownJobError",
]
