"""The controls of a job, the states that allow them, and the errors if a state does not allow one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from fiqa.contract import JobState
from fiqa.errors import JobStateError, UnknownJobError

REPLACED: Final = b"replaced"  # the reply of a script if the job has another submission token


class Control(StrEnum):
    """What can be done to a job."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    DELETE = "delete"


_ALLOWED_IN: Final = {
    Control.PAUSE: {JobState.RUNNING, JobState.PAUSED},
    Control.RESUME: {JobState.PAUSED, JobState.RUNNING},
    Control.CANCEL: {JobState.PREPARING, JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED},
    Control.DELETE: {JobState.PREPARING, JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED},
}


def no_job(job_id: str) -> UnknownJobError:
    """Return the error for a job that Redis does not know."""
    return UnknownJobError(f"no job {job_id}: `fiqa jobs` lists the newest")


def read_state(job_id: str, reply: bytes | None) -> JobState:
    """Return the state of a job that a script replied.

    Raises:
        UnknownJobError: there is no such job.
        JobStateError: the job was replaced by a later submission.
    """
    if reply is None:
        raise no_job(job_id)
    if reply == REPLACED:
        raise JobStateError(
            f"job {job_id} was replaced by another `submit --resume-id` or `recover`: this call changes nothing"
        )
    return JobState(reply.decode())


def check_allowed(job_id: str, control: Control, state: JobState, *, reopens: bool = False) -> None:
    """Check that the state allows the control.

    Args:
        job_id: the job.
        control: what to do.
        state: the state of the job.
        reopens: whether `resume` has a new share of failed images, so that it continues a failed job.

    Raises:
        JobStateError: the state does not allow it.
    """
    if state in _ALLOWED_IN[control] or (reopens and state is JobState.FAILED):
        return
    hint = ""
    if control is Control.DELETE:
        hint = f": `fiqa cancel {job_id}` first"
    elif control is Control.RESUME and state is JobState.FAILED:
        hint = f" without a new limit: `fiqa resume {job_id} --max-failed 1`"
    elif control is Control.RESUME and state is JobState.CANCELLED:
        hint = f": `fiqa retry {job_id} --rest` makes a new job of the images without a result"
    raise JobStateError(f"job {job_id} is {state}: cannot {control} it{hint}")


def check_preparing(job_id: str, state: JobState) -> None:
    """Check that a job in this state can be opened.

    Raises:
        JobStateError: it cannot be opened.
    """
    if state is not JobState.PREPARING:
        raise JobStateError(f"job {job_id} is {state}: only one that is `preparing` can be opened")
