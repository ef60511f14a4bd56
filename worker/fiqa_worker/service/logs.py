"""The log lines of a worker, as text or JSON. Each names the job and the chunk that its process works on."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import redis
from billiard.exceptions import RestartFreqExceeded, WorkerLostError
from celery.utils.log import get_multiprocessing_logger
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from fiqa.text import shown
from fiqa_worker.settings import LogFormat

# Celery writes two lines for each ticket. They say less than our one line for each chunk. botocore writes where its
# credentials come from.
_TOO_CHATTY: Final = ("celery.worker.strategy", "celery.app.trace", "botocore")

_TEXT: Final = "%(asctime)s %(levelname)s %(process)d %(where)s%(message)s"
_JSON: Final = "%(levelname)s %(name)s %(process)d %(message)s"
_JSON_NAMES: Final = {"levelname": "level", "name": "logger", "exc_info": "traceback"}
# `where` repeats job and chunk. `data` repeats the message of Celery's lines.
_NOT_IN_JSON: Final = ("where", "data", "color_message")

_LOST: Final = (WorkerLostError, RestartFreqExceeded, redis.RedisError)


class _Labels(logging.Filter):
    """Adds job and chunk to every record, from every module and thread.

    A process works on one chunk at a time, so the labels belong to the process. A context variable would not reach the
    threads that fetch.

    It makes each message one line, without escape codes and credentials.

    It also removes the tracebacks of lost processes and connections: they only show the line of Celery that noticed the
    loss.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chunk: tuple[str, int] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.chunk is not None:
            record.job, record.chunk = self.chunk
            record.where = "job {} chunk {}: ".format(*self.chunk)
        if record.exc_info and isinstance(record.exc_info[0], type) and issubclass(record.exc_info[0], _LOST):
            record.exc_info = None
        if isinstance(record.msg, str):
            # Celery ends some messages with empty lines. The key of an object may hold escape codes of terminals.
            record.msg, record.args = shown(record.getMessage().rstrip()), None
        # Celery repeats this warning at every lost connection. It is about a setting that is right here.
        return not (record.name == "py.warnings" and "CPendingDeprecationWarning" in record.getMessage())


_labels = _Labels()


@contextmanager
def about(job_id: str, chunk: int) -> Iterator[None]:
    """Label every log line of this process with this chunk while the block runs."""
    _labels.chunk = job_id, chunk
    try:
        yield
    finally:
        _labels.chunk = None


def configure(log_format: LogFormat) -> None:
    """Send the log lines of this process, including Celery's, to standard error."""
    handler = logging.StreamHandler(_own_stderr())
    handler.addFilter(_labels)
    handler.setFormatter(
        logging.Formatter(_TEXT, defaults={"where": ""})
        if log_format is LogFormat.TEXT
        else JsonFormatter(
            _JSON,
            rename_fields=_JSON_NAMES,
            reserved_attrs=[*RESERVED_ATTRS, *_NOT_IN_JSON],
            timestamp="time",
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    # The pool's logger does not propagate. It reports which processes are replaced, and why.
    pool = get_multiprocessing_logger()
    pool.handlers = [handler]
    pool.setLevel(logging.WARNING)
    for name in _TOO_CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _own_stderr() -> TextIO:
    """Open standard error under a second descriptor. While an image is decoded, descriptor 2 is redirected."""
    if sys.stderr is None:  # closed
        return Path(os.devnull).open("w", encoding="utf-8")
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="backslashreplace")
