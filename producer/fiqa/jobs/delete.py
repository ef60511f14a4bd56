"""Delete a job, or roll back one whose submit failed: first its files, then its keys in the ledger."""

from __future__ import annotations

from contextlib import suppress

from fiqa.contract import JobState
from fiqa.errors import FiqaError, JobStateError, StorageError, UnknownJobError
from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import Storage, open_storage


def delete(job_id: str, *, ledger: Ledger) -> None:
    """Delete a finished job, or one that is `preparing`. The job is listed until all of it is deleted.

    Raises:
        UnknownJobError: no such job.
        JobStateError: it runs or is paused; or its recovery was interrupted.
        StorageError: its storage does not answer or refuses.
    """
    status = ledger.status(job_id)
    storage = open_storage(status.storage, ledger.connection)
    if status.state is JobState.PREPARING:
        check_no_results(job_id, storage)
    ledger.abandon(job_id)  # else a submit that still runs would open a job without its first chunks
    state = ledger.status(job_id).state
    if state not in {JobState.RUNNING, JobState.PAUSED}:
        storage.delete(job_id)
    with suppress(UnknownJobError):  # the submit that was abandoned has rolled the job back
        ledger.control(job_id, Control.DELETE)


def roll_back(
    error: Exception, job_id: str, submission: int, *, ledger: Ledger, storage: Storage, is_written: bool
) -> None:
    """Roll back a failed submission. If that fails too, the error gets a note.

    Args:
        error: the error that ended the submit.
        job_id: the job.
        submission: the token of the failed submission.
        ledger: where the job was created.
        storage: where its manifest was written.
        is_written: whether the storage has stored a chunk.

    Raises:
        JobStateError: the job runs after all, or another process has replaced it. The job stays.
    """
    try:
        with suppress(UnknownJobError):  # it was deleted; what was written after that is deleted below
            if not ledger.abandon(job_id, submission):
                ledger.check_submission(job_id, submission)  # raises: the job runs
        try:
            storage.delete(job_id)
        except StorageError:
            if is_written:  # else nothing was stored, and there is nothing to delete
                raise
        with suppress(UnknownJobError):
            ledger.control(job_id, Control.DELETE)
    except JobStateError as stays:
        raise stays from error
    except FiqaError:
        error.add_note(f"parts of job {job_id} are still stored: `fiqa delete {job_id}` deletes them")


def check_no_results(job_id: str, storage: Storage) -> None:
    """Check that a job that is `preparing` has no results.

    Raises:
        JobStateError: it has results. It is being recovered, or its recovery was interrupted.
    """
    if storage.chunks(job_id, "results"):
        raise JobStateError(f"job {job_id} has results, its recovery was interrupted: `fiqa recover {job_id}`")
