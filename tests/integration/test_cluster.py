"""Redis in cluster mode, with one node and with three: a job runs on the node that has the slot of the namespace."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from fiqa import Client
from fiqa.doctor.findings import State
from fiqa.doctor.redis import check_redis
from fiqa.doctor.rights import check_rights
from fiqa.errors import RedisUnavailableError
from tests.fiqa_process import Fiqa
from tests.integration.conftest import StartWorker, assert_exactly_once
from tests.keys import KEYS
from tests.redis_cluster import node_of, start_cluster
from tests.waiting import WAIT_S


@pytest.mark.parametrize("shards", [1, 3])
def test_a_job_on_the_node_of_a_cluster_that_has_the_namespace(
    tmp_path: Path, photos: Path, start_worker: StartWorker, fiqa: Fiqa, shards: int
) -> None:
    uris = [(photos / "original-0.jpg").as_uri()] * 40
    with start_cluster(tmp_path / "cluster", shards) as urls:
        url = node_of(KEYS.jobs, urls)
        worker = start_worker(FIQA_REDIS_URL=url, FIQA_ALLOWED_SOURCES=photos.as_uri())
        with closing(Client(url, "redis")) as client:
            assert_exactly_once(client, client.submit(uris, chunk_size=4).id, uris)
        worker.process.terminate()
        assert worker.process.wait(WAIT_S) == 0
        assert "Traceback" not in worker.log
        assert State.WRONG not in {each.state for each in [*check_redis(url), *check_rights(url)]}

        for wrong in set(urls) - {url}:
            address = url.removeprefix("redis://").removesuffix("/0")
            line = f"Redis at {wrong} is a node of a cluster, and the keys are at {address}: set {address} in"
            done = fiqa("jobs", environment={"FIQA_REDIS_URL": wrong})
            assert done.stderr == f"fiqa: {line} FIQA_REDIS_URL\n"
            with pytest.raises(RedisUnavailableError, match=line):
                list(check_redis(wrong))
        if shards > 1:
            lost = start_worker(FIQA_REDIS_URL=wrong)
            assert lost.process.wait(WAIT_S) == 1
            assert lost.log == f"fiqa: {line} FIQA_REDIS_URL\n"
