"""The keys of the default namespace, which most tests use."""

from __future__ import annotations

from typing import Final

from fiqa.ledger.keys import Keys

KEYS: Final = Keys()
DUE: Final = KEYS.due
ENDED: Final = KEYS.ended
EXPIRED: Final = KEYS.expired
EXPIRING: Final = KEYS.expiring
FINGERPRINTS: Final = KEYS.fingerprints
JOBS: Final = KEYS.jobs
LEASES: Final = KEYS.leases
OVERVIEW: Final = KEYS.overview
QUEUE: Final = KEYS.tickets
RECONCILER_LOCK: Final = KEYS.reconciler_lock
UNACKED: Final = KEYS.unacked
UNACKED_INDEX: Final = KEYS.unacked_index
UNACKED_MUTEX: Final = KEYS.unacked_mutex
UNCLAIMED: Final = KEYS.unclaimed
WORKERS: Final = KEYS.workers
job_key: Final = KEYS.job
worker_key: Final = KEYS.worker
