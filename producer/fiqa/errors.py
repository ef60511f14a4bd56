"""The errors that fiqa raises on purpose. Each message is one line that says what to do.

FiqaError
├── SettingsError           a setting is missing or wrong
├── UsageError              a call or a command was used in a wrong way
├── MissingDependencyError  an optional package is not installed
├── OutputError             an output file cannot be written
├── SourceError             a source cannot be read
├── RedisUnavailableError   Redis does not answer, or refuses a command
├── StorageError            a job's storage cannot be read or written
│   └── LostShardError      the storage answers, but a shard is gone or damaged
├── UnknownJobError         no such job
├── JobStateError           the job's state does not allow the call
└── ContractError           a message or line does not follow version 1 of the wire format
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError


class FiqaError(Exception):
    """The root: catch this to catch every error that fiqa raises on purpose.

    Attributes:
        log: the last lines of another process's log, if they say what went wrong.
        exit_status: the exit status of a command that ends with this error. 2: the command will fail again, unless its
            arguments, its settings or this machine are changed. 1: all other errors.
    """

    log: tuple[str, ...] = ()
    exit_status: ClassVar[int] = 1


class SettingsError(FiqaError):
    """A setting is missing or wrong."""

    exit_status = 2


class UsageError(FiqaError):
    """A call or a command was used in a wrong way."""

    exit_status = 2


class MissingDependencyError(FiqaError):
    """An optional package or a module of Python is missing. The message says what to install."""

    exit_status = 2


class OutputError(FiqaError):
    """An output file cannot be written."""

    exit_status = 2


class SourceError(FiqaError):
    """A source cannot be read."""

    exit_status = 2


class RedisUnavailableError(FiqaError):
    """Redis does not answer, or refuses a command."""


class StorageError(FiqaError):
    """A job's storage cannot be read or written."""


class LostShardError(StorageError):
    """The storage answers, but a shard is gone, damaged, or does not fit its chunk."""


class UnknownJobError(FiqaError):
    """No such job."""


class JobStateError(FiqaError):
    """The job's state does not allow the call."""


class ContractError(FiqaError):
    """A message or line does not follow version 1 of the wire format."""


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the place and the text of the first problem that pydantic found, without the value.

    The value may hold a password. The place is a dotted path, such as `faces.0.box`; empty for the whole.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]
