"""Workers on machines of different names, and a share that all or some of them have mounted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fiqa import Client
from tests.waiting import wait_until
from tests.worker_process import Worker, launch_worker


def launch_on(
    host: str, redis_url: str, logs: Path, *, hides: Path | None = None, holding: str = "", **environment: Any
) -> Worker:
    """Start a worker on a machine.

    Args:
        host: the name of the machine.
        redis_url: of the worker's Redis.
        logs: a folder.
        hides: a folder that is another one on that machine.
        holding: the name of the only file in that other folder. Without it the folder is empty.
        environment: of the worker.
    """
    inside: list[str] = []
    if hides:
        mount = f'mount -t tmpfs tmpfs "{hides}"' + (f' && touch "{hides}/{holding}"' if holding else "")
        inside = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    log = logs / f"{host}.log"
    environment["FIQA_TEST_HOST"] = host
    return launch_worker(redis_url, log, module="tests.integration.planted", inside=inside, **environment)


def stop_all(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.stop()


def wait_for_workers(client: Client, *hosts: str) -> None:
    wait_until(lambda: {worker.host for worker in client.workers()} == set(hosts))


def make_share(folder: Path, photos: Path) -> Path:
    """Make a folder with one small photo, `a.jpg`."""
    folder.mkdir()
    (folder / "a.jpg").write_bytes((photos / "original-0.jpg").read_bytes())
    return folder
