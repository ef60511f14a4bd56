"""Storage in a folder that producers and workers share."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path
from typing import Final

from fiqa.atomic import write_atomically
from fiqa.errors import LostShardError, StorageError
from fiqa.storage.layout import JOBS, Document, Part, chunks_of, document_path, job_path, part_path, shard_path

# A submit may still write to a job while it is deleted. It soon finds that the job is gone, and stops.
_DELETE_TRIES: Final = 20
_DELETE_PAUSE_S: Final = 0.05


class DirectoryStorage:
    """Files below a folder. They have the same names as the objects of S3Storage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        # Results count as done once they are stored, even if the machine loses power afterwards.
        return self._write(shard_path(job_id, part, chunk), data, once=True, durable=part == "results")

    def replace(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        self._write(shard_path(job_id, part, chunk), data, once=False, durable=True)

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        self._write(document_path(job_id, name), data, once=False, durable=False)

    def _write(self, name: str, data: bytes, *, once: bool, durable: bool) -> bool:
        path = self._folder / name
        try:
            return write_atomically(path, [data], once=once, durable=durable)
        except OSError as error:
            raise StorageError(
                f"cannot write {path}: {error.strerror}: fix it, or choose another FIQA_STORAGE"
            ) from error

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        path = self._folder / shard_path(job_id, part, chunk)
        try:
            return self._read(path)
        except StorageError as error:
            # If the folder of all jobs is missing too, the shard is not lost: the file system is probably not mounted.
            is_gone = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError | IsADirectoryError)
            if is_gone and (self._folder / JOBS).is_dir():
                raise LostShardError(str(error)) from error.__cause__
            raise

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        try:
            return self._read(self._folder / document_path(job_id, name))
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error

    def chunks(self, job_id: str, part: Part) -> list[int]:
        return chunks_of(self._names(part_path(job_id, part)))

    def delete(self, job_id: str) -> None:
        folder = self._folder / job_path(job_id)
        for _ in range(_DELETE_TRIES):
            try:
                shutil.rmtree(folder)
            except OSError as error:
                # A file was added or removed while rmtree ran.
                if error.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
                    raise StorageError(
                        f"cannot delete {error.filename}: {error.strerror}: fix it, and try again"
                    ) from error
            if not folder.exists():
                return
            time.sleep(_DELETE_PAUSE_S)
        raise StorageError(f"cannot delete {folder}: something still writes to it: stop that, and try again")

    def jobs(self) -> list[str]:
        return sorted(self._names(JOBS))

    def _names(self, name: str) -> list[str]:
        folder = self._folder / name
        try:
            return [path.name for path in folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"cannot read {folder}: {error.strerror}") from error
