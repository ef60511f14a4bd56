"""Every Redis key of fiqa, what each holds, and what changes them.

A chunk is unclaimed (`next` has not reached it, or it is in `requeued`), leased, or done (its bit in `done` is set).
Each change of that is one call of a Lua script. The scripts use Redis's clock, so workers' clocks do not matter, and no
state is ever half written.
"""

from __future__ import annotations

from typing import Final

from fiqa.contract import QUEUE

JOBS: Final = "fiqa:jobs"  # zset: job id by time of creation
PREPARING: Final = "fiqa:preparing"  # set: jobs that are `preparing`
ENDED: Final = "fiqa:ended"  # zset: finished jobs whose summary is not written yet, by the time of the next try
EXPIRING: Final = "fiqa:expiring"  # zset: finished jobs by the time at which Redis forgets them
UNCLAIMED: Final = "fiqa:unclaimed"  # string: number of unclaimed chunks of all jobs in `due`
DUE: Final = "fiqa:due"  # zset: jobs with unclaimed chunks, by priority and then by virtual time (shared.lua)
LEASES: Final = "fiqa:leases"  # zset: job:chunk by expiry
RECONCILER_LOCK: Final = "fiqa:reconciler"  # string: exists while a worker reconciles for all workers
WORKERS: Final = "fiqa:workers"  # zset: id of each worker by the time at which its heartbeat expires
DOCTOR: Final = "fiqa:doctor"  # prefix of the keys on which `fiqa doctor` tries its rights; they expire
FINGERPRINTS: Final = "fiqa:fingerprints"  # zset: fingerprint of each worker by the same time

# kombu's
TICKETS: Final = QUEUE  # list: tickets that no worker has taken
UNACKED: Final = "fiqa:tickets:unacked"  # hash: tickets that a worker holds
UNACKED_INDEX: Final = "fiqa:tickets:unacked_index"  # zset: the same by time
UNACKED_MUTEX: Final = "fiqa:tickets:unacked_mutex"  # string: exists while a worker restores lost tickets

JOB: Final = "fiqa:job"  # prefix of all keys of one job


def job_key(job_id: str, part: str = "") -> str:
    """Return the key of a job's hash, or of one of its parts.

    Fields of the hash:
        name, priority, storage, created, parent, max_failed, keep_s: as in JobSpec and JobStatus.
        rank: of the priority; 0 is served first.
        submission: the submission token. It belongs to one `create`; a later `create(replace=True)` sets another.
        state, chunks, images, started, finished: as in JobStatus.
        last_error: while the job runs, why a chunk was released; after that, why its summary is not written.
        summary_tries: number of tries to write its summary.
        options: as in JobStatus, as JSON; missing if there are none.
        fingerprint: of the worker that claimed its first chunk; only workers with the same one fit. "*" if any fits.
        reason: why the job was stopped; only once it has ended.
        next: the first chunk that was never claimed.
        sizes: images in each chunk, as "8x16 1x7".
        vt: the virtual time, in images.
        done, scored, no_face, failed, faces: counters; `done` counts chunks.
        failed:CODE, models:DETECTOR/QUALITY_MODEL: counters of images.

    Parts:
        done: bitmap by chunk; set if the results of the chunk are stored and counted.
        attempts: hash, chunk -> number of claims, without those that were released.
        holders: hash, chunk -> fencing token of its last claim, with the id of the worker.
        requeued: zset of chunks that were claimed, and can be claimed again.
        in_flight: hash, chunk -> index of the item that its worker computes; chunk:suspect -> index and fencing token
            of the worker that was lost with that item.
        quarantined: hash, chunk -> items that are not computed again, as "index:code index:code".
        wrong_answers: hash, chunk -> number of attempts that failed for a lasting reason, and their machines.
        doubts: hash of failures that may be the fault of a machine (suspect.lua).
            Chunk -> "tries first last MACHINE...".
            doubt:MACHINE -> number of its failures that no other machine confirmed.
            alone:MACHINE -> time at which failures of this machine alone were last results.
        pace: hash, time in units of PACE_BUCKET_S -> images done.
        manifest, results: hashes, chunk -> gzipped JSONL; only if the job's storage is Redis.
    """
    return f"{JOB}:{job_id}:{part}" if part else f"{JOB}:{job_id}"


def worker_key(worker_id: str) -> str:
    """Return the key of a worker's hash. It expires with its heartbeat.

    Fields: `facts` as JSON, `heartbeat`, `problem:SUBJECT` for each problem with a source or a job, and `read:SOURCE`
    for each source of which the worker has read an image.
    """
    return f"{WORKERS}:{worker_id}"
