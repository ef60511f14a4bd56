from __future__ import annotations

from fiqa.client import Client
from fiqa.ledger.ledger import Ledger
from tests.keys import QUEUE
from tests.producer.faceless import work
from tests.producer.jobs.one_hundred import URIS


def test_every_key_has_the_prefix_of_fiqa_or_kombu(client: Client, ledger: Ledger) -> None:
    client.submit(URIS)
    keys = [key.decode() for key in ledger.connection.redis.scan_iter()]
    assert all(key.startswith(("{fiqa}:", "_kombu.")) for key in keys)


def test_the_keys_of_a_job_at_each_stage_are_known(client: Client, ledger: Ledger) -> None:
    def parts() -> set[str]:
        return {key.decode().replace(job.id, "JOB") for key in ledger.connection.redis.scan_iter()}

    brokers = {f"_kombu.binding.{QUEUE}", f"_kombu.binding_permanent.{QUEUE}"}
    job = client.submit(URIS)
    started = {"{fiqa}:jobs", "{fiqa}:due", "{fiqa}:unclaimed", "{fiqa}:job:JOB", "{fiqa}:job:JOB:manifest", QUEUE}
    assert parts() - brokers == started

    work(ledger, chunks=1)
    ledger.claim()
    done = {"{fiqa}:job:JOB:done", "{fiqa}:job:JOB:results"}
    running = {"{fiqa}:leases", *(f"{{fiqa}}:job:JOB:{part}" for part in ("attempts", "holders", "pace"))}
    assert parts() - brokers == started | done | running

    work(ledger)
    for lease in ledger.connection.redis.zrange("{fiqa}:leases", 0, -1):
        ledger.connection.redis.zadd("{fiqa}:leases", {lease: 1})
    work(ledger)
    ledger.connection.redis.delete(QUEUE)  # no worker takes the tickets in this test
    ended = {"{fiqa}:jobs", "{fiqa}:expiring", "{fiqa}:leases:expired", "{fiqa}:job:JOB", "{fiqa}:job:JOB:manifest"}
    assert parts() - brokers == done | ended
