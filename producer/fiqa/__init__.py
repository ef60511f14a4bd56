"""The light client of fiqa: submit jobs of images, follow them, and read their results.

What `__all__` names is the public interface. Everything else is private and may change.
"""

from importlib.metadata import version

from fiqa.client import Client, Job
from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, ImageSize, Item, JobState, Priority, Status
from fiqa.errors import (
    ContractError,
    FiqaError,
    JobStateError,
    MissingDependencyError,
    OutputError,
    RedisUnavailableError,
    SettingsError,
    SourceError,
    StorageError,
    UnknownJobError,
    UsageError,
)
from fiqa.ledger.status import JobStatus
from fiqa.results.selection import Selection
from fiqa.sources.manifest import read_source

__version__ = version("fiqa")
del version

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
    "MissingDependencyError",
    "OutputError",
    "Priority",
    "RedisUnavailableError",
    "Selection",
    "SettingsError",
    "SourceError",
    "Status",
    "StorageError",
    "UnknownJobError",
    "UsageError",
    "__version__",
    "read_source",
]
