"""Redis behind three real Sentinels: a failover in the midst of a job, and settings that are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from fiqa import Client
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.connection import Connection
from tests.fiqa_process import Fiqa
from tests.integration.conftest import StartWorker, assert_exactly_once
from tests.integration.test_security import make_certificate
from tests.ledger_of import ledger_of
from tests.sentinel_trio import PASSWORD, SENTINELS_PASSWORD, Trio, start_sentinel, start_trio
from tests.servers import free_ports, start_redis
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    with start_trio(tmp_path_factory.mktemp("trio")) as trio:
        yield trio


def url_of(addresses: str, *, master: str = "mymaster", password: str | None = SENTINELS_PASSWORD) -> str:
    of_sentinel = f"&sentinel_password={quote(password, safe='')}" if password else ""
    return f"redis+sentinel://:{quote(PASSWORD, safe='')}@{addresses}/0?master={master}{of_sentinel}"


def test_a_failover_in_the_midst_of_a_job_gives_each_image_one_result(
    trio: Trio, photos: Path, tmp_path: Path, start_worker: StartWorker, fiqa: Fiqa
) -> None:
    url = url_of(trio.addresses)
    # One Sentinel does not run: the others are asked.
    worker = start_worker(
        FIQA_REDIS_URL=url_of(f"127.0.0.1:{free_ports(1)},{trio.addresses}"),
        FIQA_ALLOWED_SOURCES=photos.as_uri(),
        concurrency=2,
    )
    uris = [(photos / "original-0.jpg").as_uri()] * 400
    with closing(Client(url, str(tmp_path / "storage"))) as client:
        job = client.submit(uris, chunk_size=8)
        wait_until(lambda: client.status(job.id).images_done > 20, lambda: worker.log)
        # Replication is asynchronous. Only what the replica has not got yet may be lost: a few chunks run again.
        assert ledger_of(client).connection.redis.wait(1, 10_000) == 1
        old = trio.kill_master()
        wait_until(lambda: trio.master_port != old)
        assert_exactly_once(client, job.id, uris)
        assert_exactly_once(client, client.submit(uris[:8], chunk_size=4).id, uris[:8])
        (found,) = client.workers()
    assert "Traceback" not in worker.log
    assert PASSWORD not in worker.log
    assert SENTINELS_PASSWORD not in worker.log

    lines = fiqa("doctor", environment={"FIQA_REDIS_URL": url}).stdout.splitlines()
    (redis_line,) = [line for line in lines if line.startswith("redis ")]
    assert f"redis+sentinel://{trio.addresses}/0?master=mymaster answers" in redis_line
    assert found.host in fiqa("workers", environment={"FIQA_REDIS_URL": url}).stdout


def failure(fiqa: Fiqa, url: str) -> str:
    done = fiqa("jobs", environment={"FIQA_REDIS_URL": url})
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert PASSWORD not in line
    assert SENTINELS_PASSWORD not in line
    return line


def test_a_master_that_the_sentinels_do_not_watch(trio: Trio, fiqa: Fiqa) -> None:
    line = failure(fiqa, url_of(f"127.0.0.1:{trio.ports[0]}", master="other"))
    assert line == (
        f"fiqa: the Sentinel at 127.0.0.1:{trio.ports[0]} watches no master other, only dead, mymaster:"
        " set the option master in FIQA_REDIS_URL"
    )


def test_a_master_that_does_not_run(trio: Trio, fiqa: Fiqa) -> None:
    line = failure(fiqa, url_of(trio.addresses, master="dead"))
    assert line.startswith("fiqa: cannot reach the master that Sentinel names (Error 111 connecting to 127.0.0.1:")
    assert line.endswith(
        "wait for the failover, start it, or let Sentinel announce an address that this machine reaches"
    )


def test_no_sentinel_that_answers(fiqa: Fiqa) -> None:
    ports = free_ports(2)
    line = failure(fiqa, url_of(f"127.0.0.1:{ports},127.0.0.1:{ports + 1}"))
    assert line.startswith(f"fiqa: the Sentinel at 127.0.0.1:{ports} does not answer (Error 111")
    assert line.endswith("Connection refused.): start it, or set FIQA_REDIS_URL")


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_sentinel_that_refuses_the_login(trio: Trio, fiqa: Fiqa, password: str | None) -> None:
    line = failure(fiqa, url_of(f"127.0.0.1:{trio.ports[1]}", password=password))
    assert line.startswith(f"fiqa: the Sentinel at 127.0.0.1:{trio.ports[1]} refuses (")
    assert line.endswith("set sentinel_username and sentinel_password in FIQA_REDIS_URL")


def test_a_master_that_refuses_the_login(trio: Trio, fiqa: Fiqa) -> None:
    line = failure(fiqa, url_of(trio.addresses).replace(quote(PASSWORD, safe=""), "wrong"))
    assert "refuses the login: check user and password in FIQA_REDIS_URL" in line


def test_a_redis_in_place_of_a_sentinel(redis_url: str, fiqa: Fiqa) -> None:
    address = redis_url.removeprefix("redis://").removesuffix("/0")
    line = failure(fiqa, url_of(address, password=None))
    assert line == f"fiqa: {address} is not a Sentinel: set FIQA_REDIS_URL to the Sentinels, or to redis://{address}"


def test_sentinel_and_redis_over_tls(trio: Trio, tmp_path: Path) -> None:
    del trio  # for redis-server, which has TLS
    authority = make_certificate(tmp_path / "ca.pem")
    make_certificate(tmp_path / "server.pem", authority)
    port, of_redis, of_sentinel, plain = (free_ports(1) for _ in range(4))
    files = {"tls-cert-file": "server.pem", "tls-key-file": "server.pem", "tls-ca-cert-file": "ca.pem"}
    tls = {name: str(tmp_path / file) for name, file in files.items()} | {"tls-auth-clients": "no"}
    tls |= {"tls-replication": "yes"}
    (tmp_path / "redis").mkdir()
    lines = "\n".join(f"{name} {value}" for name, value in {**tls, "tls-port": str(of_sentinel)}.items())
    login = {"requirepass": PASSWORD, "tls-port": str(of_redis)}
    with (
        start_redis(tmp_path / "redis", {**tls, **login}, port, password=PASSWORD),
        start_sentinel(tmp_path / "sentinel", plain, {"mymaster": of_redis}, lines),
    ):
        url = url_of(f"127.0.0.1:{of_sentinel}").replace("redis+", "rediss+") + "&ssl_ca_certs="
        with closing(Connection(f"{url}{tmp_path}/ca.pem")) as connection:
            connection.ping()
            assert connection.redis.client_info()["laddr"] == f"127.0.0.1:{of_redis}"
        in_the_clear = url.replace(f":{of_sentinel}/", f":{plain}/") + f"{tmp_path}/ca.pem"
        with_tls_only = url.replace("rediss+", "redis+").partition("&ssl_")[0]
        for other, what in (
            (f"{url}{tmp_path}/server.pem", "shows a certificate that is not trusted: set ssl_ca_certs"),
            (in_the_clear, "; if this port takes no TLS, use sentinel://"),
            (with_tls_only, "; if this port takes TLS only, use rediss+sentinel://"),
        ):
            with closing(Connection(other)) as connection, pytest.raises(RedisUnavailableError) as caught:
                connection.ping()
            assert what in str(caught.value)
