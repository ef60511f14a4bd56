"""Workers in daily operation: how they end, probes, a Redis that is away for a while, memory, and log lines."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from fiqa import Client, JobState
from tests.fiqa_process import BUILTIN
from tests.integration import planted
from tests.integration.conftest import StartWorker
from tests.keys import LEASES, job_key
from tests.ledger_of import ledger_of
from tests.servers import free_ports, start_redis
from tests.waiting import WAIT_S, wait_until
from tests.worker_process import ROOT, Worker

SOON_S: Final = 15  # shorter than what hangs in these tests
REDIS_AWAY_S: Final = 20
HEALTHCHECK: Final = re.search(
    r"^HEALTHCHECK .*CMD (.*)$", (ROOT / "deploy/worker.Dockerfile").read_text().replace("\\\n", ""), re.MULTILINE
)


@pytest.fixture
def silent_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """boto3's settings lead to a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.getsockname()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "silent")
        yield


@pytest.mark.usefixtures("silent_s3")
def test_a_fetch_that_hangs_holds_up_neither_the_chunk_nor_the_end_of_the_worker(
    client: Client, tmp_path: Path, start_worker: StartWorker
) -> None:
    health = tmp_path / "health"
    worker = start_worker(FIQA_DRAIN_S="6", FIQA_HEALTH_DIR=str(health))
    job = client.submit([f"s3://photos/{number}.jpg" for number in range(20)])
    wait_until(lambda: leases(client) > 0)
    wait_until((health / "ready").exists)
    worker.process.send_signal(signal.SIGTERM)
    wait_until(lambda: leases(client) == 0)
    wait_until(lambda: not (health / "ready").exists())
    assert ledger_of(client).waiting_tickets() > 0
    claim = ledger_of(client).claim()
    assert claim is not None
    assert (claim.job_id, claim.attempt) == (job.id, 1)
    assert worker.process.wait(SOON_S) == 0, worker.log
    assert "Traceback" not in worker.log


@pytest.mark.parametrize(
    ("send", "number"),
    [(os.killpg, signal.SIGTERM), (os.killpg, signal.SIGINT), (os.kill, signal.SIGQUIT), (os.kill, signal.SIGHUP)],
)
def test_a_signal_that_arrives_twice_and_also_at_the_children_ends_a_worker_normally(
    client: Client, photos: Path, start_worker: StartWorker, send: Callable[[int, int], None], number: signal.Signals
) -> None:
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    client.submit([(photos / "large-0.jpg").as_uri()] * 400, chunk_size=200)
    wait_until(lambda: leases(client) > 0)
    send(worker.process.pid, number)
    wait_until(lambda: leases(client) == 0)
    send(worker.process.pid, number)
    assert worker.process.wait(SOON_S) == 0, worker.log
    assert "Traceback" not in worker.log


def test_a_worker_that_cannot_stop_is_killed(client: Client, photos: Path, start_worker: StartWorker) -> None:
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri(), FIQA_DRAIN_S="1")
    client.submit([(photos / "large-0.jpg").as_uri()] * 400, chunk_size=200)
    wait_until(lambda: leases(client) > 0)
    (child,) = pool_children(worker)
    os.kill(child, signal.SIGSTOP)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(SOON_S) == 1
    assert "drain timed out" in worker.log
    wait_until(lambda: not is_running(child))


def test_children_end_with_a_main_process_that_is_killed(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri(), concurrency=2)
    client.submit([(photos / "large-0.jpg").as_uri()] * 2000, chunk_size=1000)
    wait_until(lambda: leases(client) == 2)
    children = pool_children(worker)
    assert len(children) == 2
    worker.process.kill()
    worker.process.wait()
    wait_until(lambda: not any(is_running(child) for child in children))


def test_the_health_check_of_the_container_image_finds_a_worker_that_hangs(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    assert HEALTHCHECK
    health = tmp_path / "health"

    def is_healthy() -> bool:
        check = json.loads(HEALTHCHECK[1])
        return subprocess.run(check, env={**os.environ, "FIQA_HEALTH_DIR": str(health)}, check=False).returncode == 0

    assert not is_healthy()
    worker = start_worker(FIQA_HEALTH_DIR=str(health))
    wait_until((health / "ready").exists)
    assert is_healthy()
    worker.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(worker.process.pid))
    an_hour_ago = time.time() - 3600
    os.utime(health / "alive", (an_hour_ago, an_hour_ago))
    assert not is_healthy()
    worker.process.send_signal(signal.SIGCONT)
    wait_until(is_healthy)


def test_the_main_process_holds_neither_opencv_nor_onnxruntime(tmp_path: Path, start_worker: StartWorker) -> None:
    health = tmp_path / "health"
    worker = start_worker(FIQA_HEALTH_DIR=str(health))
    wait_until((health / "ready").exists)
    (child,) = pool_children(worker)
    main, scoring = (Path(f"/proc/{pid}/maps").read_text() for pid in (worker.process.pid, child))
    for package in ("cv2", "onnxruntime", "numpy"):
        assert f"/{package}" not in main
        assert f"/{package}" in scoring


def test_a_worker_recovers_by_itself_after_redis_was_away(
    photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    port, kept = free_ports(1), {"appendonly": "yes", "appendfsync": "always"}
    health, folder = tmp_path / "health", tmp_path / "redis"
    folder.mkdir()
    uris = [(photos / "large-0.jpg").as_uri()] * 64
    with start_redis(folder, kept, port) as server:
        worker = start_worker(
            FIQA_ALLOWED_SOURCES=photos.as_uri(), FIQA_HEALTH_DIR=str(health), FIQA_REDIS_URL=server.url
        )
        wait_until((health / "ready").exists)
        with Client(server.url, str(tmp_path / "storage")) as client:
            job = client.submit(uris, chunk_size=8)
            wait_until(lambda: client.status(job.id).images_done > 0)
    gone = time.monotonic()
    wait_until(lambda: not (health / "ready").exists())
    time.sleep(max(0.0, gone + REDIS_AWAY_S - time.monotonic()))
    assert time.time() - (health / "alive").stat().st_mtime < REDIS_AWAY_S
    with start_redis(folder, kept, port) as server, Client(server.url, str(tmp_path / "storage")) as client:
        status = client.wait(job.id, WAIT_S)
        assert (status.state, status.scored) == (JobState.SUCCEEDED, len(uris))
        assert [result.uri for result in client.results(job.id)] == uris
        wait_until((health / "ready").exists)
        assert worker.process.poll() is None
        worker.process.terminate()
        assert worker.process.wait(SOON_S) == 0
    assert "Traceback" not in worker.log
    errors = [line for line in worker.log.splitlines() if " WARNING " in line or " ERROR " in line]
    assert len(errors) < 20, worker.log


def test_a_child_that_holds_too_much_memory_is_replaced_between_chunks(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri(), FIQA_MAX_CHILD_MB="64")
    uris = [(photos / "original-0.jpg").as_uri()] * 9
    job = client.submit(uris, chunk_size=3)
    status = client.wait(job.id, WAIT_S)
    assert (status.state, status.scored) == (JobState.SUCCEEDED, len(uris))
    assert [result.uri for result in client.results(job.id)] == uris

    def by_process() -> list[str]:
        return re.findall(r" INFO (\d+) job \S+ chunk \d+: 3 images", worker.log)

    wait_until(lambda: len(by_process()) >= 3, lambda: worker.log)  # a chunk is counted before its line is written
    assert len(by_process()) == len(set(by_process())) == 3
    assert worker.log.count("exceeding memory limit") >= 2
    assert "Traceback" not in worker.log


def test_each_json_log_line_is_json_and_a_line_about_a_chunk_names_the_chunk(
    client: Client, photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    odd = tmp_path / "odd.jpg?X-Amz-Signature=secret"
    odd.write_bytes(planted.RAISES)
    uris = [(photos / "original-0.jpg").as_uri(), f"file://{odd}"]
    worker = start_worker(
        module="tests.integration.planted",
        FIQA_ALLOWED_SOURCES=f"{photos.as_uri()},{tmp_path.as_uri()}",
        FIQA_LOG_FORMAT="json",
    )
    job = client.submit(uris)
    assert client.wait(job.id, WAIT_S).failed_by_code == {"internal_error": 1}
    wait_until(lambda: "the job is finished" in worker.log, lambda: worker.log)
    worker.process.terminate()
    assert worker.process.wait(SOON_S) == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in worker.log.splitlines()]
    assert all({"time", "level", "logger", "process", "message"} <= set(line) for line in lines)
    of_chunks = [
        line for line in lines if line["logger"] in {"fiqa_worker.service.chunk", "fiqa_worker.pipeline.in_progress"}
    ]
    assert len(of_chunks) == 3
    assert {(line["job"], line["chunk"]) for line in of_chunks} == {(job.id, 0)}
    (failure,) = (line for line in of_chunks if "traceback" in line)
    assert failure["message"] == f"file://{tmp_path}/odd.jpg: internal error"
    assert "planted" in failure["traceback"]
    assert any(line["logger"].startswith("celery") for line in lines)
    assert "superuser" not in worker.log  # Celery's warning to root
    assert "secret" not in worker.log


def leases(client: Client) -> int:
    server: redis.Redis = ledger_of(client).connection.redis
    return int(server.zcard(LEASES))


def pool_children(worker: Worker) -> list[int]:
    """Return the process ids of the pool, without the process that cleans up semaphores."""
    pid = worker.process.pid
    pids = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in pids if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if the process ends between open and read
        return False


def is_stopped(pid: int) -> bool:
    """Whether the process and all its threads are stopped."""
    try:
        stats = [(thread / "stat").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):  # a thread has ended
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def test_a_worker_survives_a_full_redis(client: Client, photos: Path, start_worker: StartWorker) -> None:
    uris = [(photos / "original-0.jpg").as_uri()] * 200
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    job = client.submit(uris, chunk_size=4)
    wait_until(lambda: client.status(job.id).chunks_done > 0)
    ledger_of(client).connection.redis.config_set("maxmemory", 1)
    try:
        wait_until(lambda: "command not allowed when used memory > 'maxmemory'" in worker.log)
        time.sleep(3)
    finally:
        ledger_of(client).connection.redis.config_set("maxmemory", 0)
    assert worker.process.poll() is None
    status = client.wait(job.id, WAIT_S)
    assert (status.state, status.images_done, status.failed) == (JobState.SUCCEEDED, len(uris), 0)
    assert "Traceback" not in worker.log


def test_a_worker_that_runs_is_listed_and_one_that_drains_is_not(
    client: Client, tmp_path: Path, start_worker: StartWorker
) -> None:
    health = tmp_path / "health"
    worker = start_worker(FIQA_ALLOWED_SOURCES="s3://photos/,file:///data", FIQA_HEALTH_DIR=str(health), concurrency=2)
    wait_until(client.workers, lambda: worker.log)
    wait_until((health / "ready").exists, lambda: worker.log)  # a signal would end a pool that starts with status 1
    (found,) = client.workers()
    assert (found.host, found.pid, found.processes) == (socket.gethostname(), worker.process.pid, 2)
    assert (found.detector.partition("@")[0], found.device) == ("builtin_detector", "cpu")
    assert found.allowed_sources == ("s3://photos/", "file:///data")
    (line,) = [line for line in worker.log.splitlines() if " starts: fiqa " in line]
    assert f"sources s3://photos/, file:///data, fingerprint {found.fingerprint}" in line
    worker.process.terminate()
    assert worker.process.wait(SOON_S) == 0, worker.log
    assert client.workers() == []


def test_a_sigterm_during_the_start_of_a_worker_as_process_1_ends_it(tmp_path: Path) -> None:
    as_process_1 = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*as_process_1, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a PID namespace")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a Redis that does not answer: the worker is not ready
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with subprocess.Popen(
            [*as_process_1, sys.executable, "-m", "fiqa", "worker", "--concurrency", "1"],
            env={**os.environ, **BUILTIN, "FIQA_REDIS_URL": url, "FIQA_MODELS_DIR": str(tmp_path)},
            stderr=subprocess.DEVNULL,
        ) as unshare:
            silent.settimeout(WAIT_S)
            connection, _ = silent.accept()
            with connection:
                (worker,) = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
                os.kill(int(worker), signal.SIGTERM)
                # It would wait for Redis for 10 s, and then end with status 1.
                assert unshare.wait(WAIT_S) == 128 + signal.SIGTERM


class _WrongKey(BaseHTTPRequestHandler):
    """S3 as it answers a key that it does not know."""

    def do_GET(self) -> None:
        body = b"<Error><Code>InvalidAccessKeyId</Code><Message>It does not exist in our records.</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("storage", ["redis", "s3://bucket/fiqa"])
def test_a_worker_with_wrong_credentials_of_s3_shows_in_the_status_after_its_first_chunk(
    redis_url: str, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, storage: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _WrongKey) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "wrong")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with Client(redis_url, str(tmp_path)) as client:
            job = client.submit([f"s3://images/{number}.jpg" for number in range(100)])
            if storage != "redis":
                ledger_of(client).connection.redis.hset(job_key(job.id), "storage", storage)
            worker = start_worker(FIQA_ALLOWED_STORAGES=f"{tmp_path},s3://")
            wait_until(lambda: job.status().last_error)
            status = job.status()  # no chunk was done before: it was the first
            assert status.images_done == 0
            assert re.search("the access key is not known|InvalidAccessKeyId", str(status.last_error)), worker.log
        server.shutdown()
