"""Storage in Redis: no store to set up, but everything is in Redis's memory."""

from __future__ import annotations

from fiqa.contract import REDIS_STORAGE
from fiqa.errors import LostShardError
from fiqa.ledger.connection import Connection
from fiqa.storage.layout import Document, Part


class RedisStorage:
    """Two hashes per job, next to the job's keys in the ledger: one of manifest shards, one of result shards."""

    url = REDIS_STORAGE

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys = connection.keys
        self._store_once = connection.script("store_once")

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        with self._connection.errors():
            return bool(self._store_once(args=[job_id, part, chunk, data]))

    def replace(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        with self._connection.errors():
            self._connection.redis.hdel(self._keys.job(job_id, part), chunk)
            self._store_once(args=[job_id, part, chunk, data])

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        with self._connection.errors():
            data = self._connection.redis.hget(self._keys.job(job_id, part), chunk)
        if data is None:
            raise LostShardError(f"{part} {chunk} of job {job_id} is not in Redis: was the job deleted?")
        return bytes(data)

    def chunks(self, job_id: str, part: Part) -> list[int]:
        with self._connection.errors():
            return sorted(
                int(chunk) for chunk in self._connection.redis.hkeys(self._keys.job(job_id, part)) if chunk.isdigit()
            )

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        """Store job.json: `recover` needs it if a failover of Redis loses the opening of the job.

        summary.json is not needed: the ledger is in the same Redis.
        """
        if name == "job":
            with self._connection.errors():
                self._connection.redis.hdel(self._keys.job(job_id, "manifest"), name)
                self._store_once(args=[job_id, "manifest", name, data])

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        with self._connection.errors():
            data = self._connection.redis.hget(self._keys.job(job_id, "manifest"), name)
        return None if data is None else bytes(data)

    def delete(self, job_id: str) -> None:
        with self._connection.errors():
            self._connection.redis.unlink(self._keys.job(job_id, "manifest"), self._keys.job(job_id, "results"))

    def jobs(self) -> list[str]:
        """Return the jobs that are complete but still `preparing`. If Redis lost a job, its storage is lost too."""
        with self._connection.errors():
            preparing = sorted(raw.decode() for raw in self._connection.redis.smembers(self._keys.preparing))
        return [job_id for job_id in preparing if self.read_document(job_id, "job") is not None]
