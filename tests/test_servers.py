from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.servers import free_ports, start_redis, start_s3
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
NO_REDIS = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@pytest.mark.parametrize("kind", [pytest.param("server", marks=NO_REDIS), "embedded"])
def test_either_redis_starts_with_the_settings_given_and_is_gone_at_the_end(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIQA_TEST_REDIS", kind)

    with (
        start_redis(tmp_path, {"appendonly": "yes"}) as server,
        closing(redis.Redis.from_url(server.url, decode_responses=True)) as client,
    ):
        settings = client.config_get("appendonly", "maxmemory-policy", "save")

    assert settings == {"appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}
    assert (tmp_path / "appendonlydir").is_dir()
    with closing(redis.Redis.from_url(server.url)) as client, pytest.raises(redis.ConnectionError):
        client.ping()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
@NO_REDIS
def test_a_redis_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.servers import start_redis\n"
        "with start_redis(Path(sys.argv[1])) as server:\n"
        "    print(server.url, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "FIQA_TEST_REDIS": "server"}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    with closing(redis.Redis.from_url(done.stdout.strip())) as client:

        def is_gone() -> bool:
            try:
                return not client.ping()
            except redis.ConnectionError:
                return True

        wait_until(is_gone)


def test_a_redis_server_that_is_asked_for_and_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIQA_TEST_REDIS", "server")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(FileNotFoundError, match="redis-server"), start_redis(tmp_path):
        pass


def test_a_ceph_that_is_asked_for_and_missing_is_an_error_that_names_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("FIQA_TEST_S3", "ceph")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RuntimeError, match="apt-get install ceph-common ceph-mon ceph-osd radosgw"), start_s3():
        pass


def test_a_port_belongs_to_one_process() -> None:
    first = free_ports(3)
    code = f"from tests.servers import _reserve; print([_reserve(port) for port in range({first}, {first} + 3)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[False, False, False]\n"


def test_a_misspelled_choice_is_an_error_and_not_a_silent_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_TEST_S3", "cehp")

    with pytest.raises(ValueError, match="FIQA_TEST_S3 is 'cehp': it may be ceph or moto, or unset"), start_s3():
        pass


def test_every_test_gets_an_empty_database(redis_url: str) -> None:
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.dbsize() == 0
