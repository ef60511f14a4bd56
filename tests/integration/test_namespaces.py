"""Two installations on one Redis: neither sees or changes what the other has there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from fiqa import Client, JobState
from fiqa.doctor.findings import State
from fiqa.doctor.rights import check_rights
from tests.fiqa_process import Fiqa
from tests.integration.conftest import StartWorker
from tests.ledger_of import ledger_of
from tests.waiting import WAIT_S, wait_until


def keys_of(redis_url: str) -> set[bytes]:
    with closing(redis.Redis.from_url(redis_url)) as server:
        found: Any = server.keys("*")
        return set(found)


def test_two_installations_share_a_redis_and_each_has_its_keys_in_one_slot(
    redis_url: str, photos: Path, start_worker: StartWorker, fiqa: Fiqa
) -> None:
    uris = [(photos / "original-0.jpg").as_uri()] * 40
    with Client(redis_url, "redis") as default, Client(redis_url, "redis", namespace="team-b.2") as other:
        waits = default.submit(uris, chunk_size=4)
        before = keys_of(redis_url)
        worker = start_worker(FIQA_REDIS_URL=redis_url, FIQA_ALLOWED_SOURCES="file:///", FIQA_NAMESPACE="team-b.2")
        job = other.submit(uris, chunk_size=4)
        assert other.wait(job.id, WAIT_S).images_done == len(uris)
        (found,) = other.workers()
        wait_until(lambda: ledger_of(other).waiting_tickets() == 0)  # also of those that were superfluous

        assert default.workers() == []
        assert default.status(waits.id).state is JobState.RUNNING
        assert default.status(waits.id).started is None
        assert [each.id for each in default.jobs()] == [waits.id]
        assert [each.id for each in other.jobs()] == [job.id]
        theirs = keys_of(redis_url) - before
        assert before <= keys_of(redis_url)
        assert {key_slot(key) for key in theirs} == {key_slot(b"{team-b.2}")}
        assert {key_slot(key) for key in before} == {key_slot(b"{fiqa}")}

        environment = {"FIQA_REDIS_URL": redis_url, "FIQA_NAMESPACE": "team-b.2"}
        assert found.host in fiqa("workers", environment=environment).stdout
        assert job.id in fiqa("jobs", environment=environment).stdout
        lines = fiqa("doctor", environment=environment).stdout.splitlines()
        assert any("1 worker" in line for line in lines if line.startswith("workers"))
    assert "Traceback" not in worker.log


def test_a_user_of_one_namespace_has_no_rights_in_another(redis_url: str) -> None:
    rights = ("+@all", "~{a}:*", "~_kombu.binding.{a}:*", "~_kombu.binding_permanent.{a}:*")
    with closing(redis.Redis.from_url(redis_url)) as admin:
        any_admin: Any = admin  # some of redis-py's commands have no types
        any_admin.execute_command("ACL", "SETUSER", "a", "on", "nopass", "resetkeys", *rights)
        try:
            url = redis_url.replace("redis://", "redis://a:x@")
            assert [each.state for each in check_rights(url, "a")] == [State.OK]
            (finding,) = check_rights(url, "b")
        finally:
            any_admin.execute_command("ACL", "DELUSER", "a")
    assert "the key {b}:tickets" in finding.text


@pytest.mark.parametrize("name", ["", "a b", "a:b", "{a}", "a*", "a\nb", "é", "a" * 65])
def test_a_strange_namespace_is_refused_in_one_line(fiqa: Fiqa, name: str) -> None:
    done = fiqa("jobs", environment={"FIQA_NAMESPACE": name, "FIQA_REDIS_URL": "redis://127.0.0.1:1"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fiqa: FIQA_NAMESPACE: 1 to 64 letters and digits of ASCII, dots, hyphens and underscores\n"
