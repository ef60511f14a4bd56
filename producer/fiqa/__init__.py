"""The light client of fiqa: enqueue bulk jobs of images, follow them, read their results."""

from fiqa_producer.client import Client
from fiqa_producer.contract import ErrorCode, Face, ImageError, ImageResult, ImageSize, Item, JobState, Priority, Status
from fiqa_producer.enqueue import Job
from fiqa_producer.errors import (
    ContractError,
    FiqaError,
    HomeError,
    JobStateError,
    RedisUnavailableError,
    SettingsError,
    SourceError,
    UnknownJobError,
)
from fiqa_producer.status import JobStatus

__all__ = [
    "Client",
    "ContractError",
    "ErrorCode",
    "Face",
    "FiqaError",
    "HomeError",
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
    "UnknownJobError",
]
