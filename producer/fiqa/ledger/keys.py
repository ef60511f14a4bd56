"""Every Redis key of fiqa, what each holds, and what changes them.

A chunk is unclaimed (`next` has not reached it, or it is in `requeued`), leased, or done (its bit in `done` is set).
Each change of that is one call of a Lua script. The scripts use Redis's clock, so workers' clocks do not matter, and no
state is ever half written.
"""

from __future__ import annotations

from typing import Final

from fiqa.contract import DEFAULT_NAMESPACE


class Keys:
    """The keys of one namespace.

    All of them have the hash tag `{namespace}`, so Redis Cluster keeps them in one slot. Kombu's own keys have it too:
    they end with the name of the queue.
    """

    def __init__(self, namespace: str = DEFAULT_NAMESPACE) -> None:
        prefix = f"{{{namespace}}}:"
        self.jobs: Final = prefix + "jobs"  # zset: job id by time of creation
        self.preparing: Final = prefix + "preparing"  # set: jobs that are `preparing`
        # zset: finished jobs whose summary is not written yet, by the time of the next try
        self.ended: Final = prefix + "ended"
        self.expiring: Final = prefix + "expiring"  # zset: finished jobs by the time at which Redis forgets them
        self.unclaimed: Final = prefix + "unclaimed"  # string: number of unclaimed chunks of all jobs in `due`
        # zset: jobs with unclaimed chunks, by priority and then by virtual time (shared.lua)
        self.due: Final = prefix + "due"
        self.leases: Final = prefix + "leases"  # zset: job:chunk by expiry
        self.expired: Final = self.leases + ":expired"  # string: number of leases that have expired
        self.reconciler_lock: Final = prefix + "reconciler"  # string: exists while a worker reconciles for all workers
        self.workers: Final = prefix + "workers"  # zset: id of each worker by the time at which its heartbeat expires
        # string: figures over all jobs as JSON (overview.py); it expires after seconds
        self.overview: Final = prefix + "overview"
        self.fingerprints: Final = prefix + "fingerprints"  # zset: fingerprint of each worker by the same time
        self.doctor: Final = prefix + "doctor"  # prefix of keys on which `fiqa doctor` tries its rights; they expire
        self.job_prefix: Final = prefix + "job"  # prefix of all keys of one job

        # kombu's
        self.tickets: Final = prefix + "tickets"  # list: tickets that no worker has taken; also the queue's name
        self.unacked: Final = prefix + "tickets:unacked"  # hash: tickets that a worker holds
        self.unacked_index: Final = prefix + "tickets:unacked_index"  # zset: the same by time
        # string: exists while a worker restores lost tickets
        self.unacked_mutex: Final = prefix + "tickets:unacked_mutex"

    def job(self, job_id: str, part: str = "") -> str:
        """Return the key of a job's hash, or of one of its parts.

        Fields of the hash:
            name, priority, storage, created, parent, max_failed, keep_s: as in JobSpec and JobStatus.
            rank: of the priority; 0 is served first.
            submission: the submission token. It belongs to one `create`; a later `create(replace=True)` sets another.
            state, chunks, images, started, finished: as in JobStatus.
            last_error: while the job runs, why a chunk was released; after that, why its summary is not written.
            summary_tries: number of tries to write its summary.
            options: as in JobStatus, as JSON; missing if there are none.
            fingerprint: of the worker that claimed its first chunk; only workers with the same one fit. "*" if any
                fits.
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
            in_flight: hash, chunk -> index of the item that its worker computes; chunk:suspect -> index and fencing
                token of the worker that was lost with that item.
            quarantined: hash, chunk -> items that are not computed again, as "index:code index:code".
            wrong_answers: hash, chunk -> number of attempts that failed for a lasting reason, and their machines.
            doubts: hash of failures that may be the fault of a machine (suspect.lua).
                Chunk -> "tries first last MACHINE...".
                doubt:MACHINE -> number of its failures that no other machine confirmed.
                alone:MACHINE -> time at which failures of this machine alone were last results.
            pace: hash, time in units of PACE_BUCKET_S -> images done.
            manifest, results: hashes, chunk -> gzipped JSONL; only if the job's storage is Redis.
        """
        return f"{self.job_prefix}:{job_id}:{part}" if part else f"{self.job_prefix}:{job_id}"

    def worker(self, worker_id: str) -> str:
        """Return the key of a worker's hash. It expires with its heartbeat.

        Fields: `facts` as JSON, `heartbeat`, `problem:SUBJECT` for each problem with a source or a job, and
        `read:SOURCE` for each source of which the worker has read an image.
        """
        return f"{self.workers}:{worker_id}"
