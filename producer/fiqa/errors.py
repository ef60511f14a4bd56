"""Everything fiqa raises on purpose: one line each, which says what to do.

FiqaError
├── SettingsError          a setting is missing or wrong
├── RedisUnavailableError  Redis does not answer, or refuses
├── HomeError              a job's home cannot be read or written
├── SourceError            a manifest source cannot be read
├── UnknownJobError        no such job
├── JobStateError          the job's state does not allow it
└── ContractError          a message or line is not what the wire's version 1 says
"""


class FiqaError(Exception):
    """The root: catch this to catch all that fiqa raises on purpose."""


class SettingsError(FiqaError):
    """A setting is missing or wrong."""


class RedisUnavailableError(FiqaError):
    """Redis does not answer, or refuses."""


class HomeError(FiqaError):
    """A job's home cannot be read or written."""


class SourceError(FiqaError):
    """A manifest source cannot be read."""


class UnknownJobError(FiqaError):
    """No such job."""


class JobStateError(FiqaError):
    """The job's state does not allow it."""


class ContractError(FiqaError):
    """A message or line is not what the wire's version 1 says."""
