"""Storage in Redis: no store to set up, but everything is in Redis's memory."""

from __future__ import annotations

from fiqa.contract import REDIS_STORAGE
from fiqa.errors import LostShardError
from fiqa.ledger.connection import Connection
from fiqa.ledger.keys import job_key
from fiqa.storage.layout import Document, Part


class RedisStorage:
    """Two hashes a job, next to the job's keys in the ledger: one of manifest shards, one of result shards."""

    url = REDIS_STORAGE

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store_once = connection.script("store_once")

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        with self._connection.errors():
            return bool(self._store_once(args=[job_id, part, chunk, data]))

    def replace(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        with self._connection.errors():
            self._connection.redis.hdel(job_key(job_id, part), chunk)
            self._store_once(args=[job_id, part, chunk, data])

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        with self._connection.errors():
            data = self._connection.redis.hget(job_key(job_id, part), chunk)
        if data is None:
            raise LostShardError(f"{part} {chunk} of job {job_id} is not in Redis: was the job deleted?")
        return bytes(data)

    def chunks(self, job_id: str, part: Part) -> list[int]:
        with self._connection.errors():
            return sorted(int(chunk) for chunk in self._connection.redis.hkeys(job_key(job_id, part)))

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        """Do nothing: the ledger is in the same Redis, and it knows all that a document says."""

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        del job_id, name
        return None

    def delete(self, job_id: str) -> None:
        with self._connection.errors():
            self._connection.redis.unlink(job_key(job_id, "manifest"), job_key(job_id, "results"))

    def jobs(self) -> list[str]:
        """Return an empty list: if Redis is lost, its storage is lost too."""
        return []
