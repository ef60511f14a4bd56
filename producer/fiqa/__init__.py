"""The light client of fiqa: submit jobs of images, follow them, and read their results.

What `__all__` names is the public interface. Everything else is private and may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from fiqa.client import Client
    from fiqa.contract import (
        ErrorCode,
        Face,
        ImageError,
        ImageResult,
        ImageSize,
        Item,
        JobState,
        Priority,
        Reason,
        Status,
    )
    from fiqa.job import Job
    from fiqa.jobs.repair import Repair
    from fiqa.ledger.status import JobStatus
    from fiqa.ledger.workers import WorkerStatus
    from fiqa.results.selection import Selection
    from fiqa.sources.manifest import read_source

    __version__: str

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
    "Reason",
    "RedisUnavailableError",
    "Repair",
    "Selection",
    "SettingsError",
    "SourceError",
    "Status",
    "StorageError",
    "UnknownJobError",
    "UsageError",
    "WorkerStatus",
    "__version__",
    "read_source",
]

# The other names are imported at their first use. Redis and pydantic take 0.2 s to import, and `fiqa --help` and every
# completion in the shell would wait for them.
_MODULES: Final = {
    "fiqa.client": ("Client",),
    "fiqa.job": ("Job",),
    "fiqa.jobs.repair": ("Repair",),
    "fiqa.contract": (
        *("ErrorCode", "Face", "ImageError", "ImageResult", "ImageSize", "Item", "JobState", "Priority", "Reason"),
        "Status",
    ),
    "fiqa.ledger.status": ("JobStatus",),
    "fiqa.ledger.workers": ("WorkerStatus",),
    "fiqa.results.selection": ("Selection",),
    "fiqa.sources.manifest": ("read_source",),
}

if not TYPE_CHECKING:  # type checkers would accept any name if they saw it

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return import_module("importlib.metadata").version("fiqa")
        for module, names in _MODULES.items():
            if name in names:
                value = globals()[name] = getattr(import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
