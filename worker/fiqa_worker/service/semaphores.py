"""Whether this machine gives the pool of processes the semaphores that it needs."""

from __future__ import annotations

from billiard.context import ForkContext

from fiqa.errors import UsageError


def check_semaphores() -> None:
    """Make a semaphore as the pool does. Without this check its error would be a traceback.

    Raises:
        UsageError: no semaphore can be made.
    """
    try:
        ForkContext().Lock()
    except OSError as error:
        raise UsageError(
            f"cannot make semaphores for the processes in /dev/shm: {error.strerror}: let this user write"
            " to /dev/shm (in a container with a read-only root: --tmpfs /dev/shm)"
        ) from error
