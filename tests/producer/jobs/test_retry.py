from __future__ import annotations

import pytest

from fiqa.client import Client
from fiqa.contract import ErrorCode, ImageResult, Item, Priority
from fiqa.errors import JobStateError, SourceError
from fiqa.ledger.ledger import Ledger
from tests.producer.faceless import failed, no_face, work
from tests.producer.jobs.one_hundred import URIS, in_redis


def test_a_retry_is_a_new_job_of_the_failed_images_and_names_its_parent(client: Client, ledger: Ledger) -> None:
    codes = {5: ErrorCode.FETCH_FAILED, 50: ErrorCode.NOT_FOUND, 99: ErrorCode.INTERNAL_ERROR}

    def end(item: Item) -> ImageResult:
        number = int(str(item.id))
        return failed(item, codes[number]) if number in codes else no_face(item)

    items = [Item(uri=uri, id=str(number), version="v1") for number, uri in enumerate(URIS)]
    job = client.submit(items, name="backfill", priority="low", max_failed=0.9, keep_s=3600, max_faces=3)
    with pytest.raises(JobStateError, match=r"is running: only a finished one can be retried$"):
        client.retry(job.id)
    work(ledger, end=end)

    again = client.retry(job.id)
    status = client.status(again.id)
    assert (status.parent, status.name, status.priority, status.images) == (job.id, "backfill", Priority.LOW, 2)
    assert (status.max_failed, status.keep_s, status.options) == (0.9, 3600, {"max_faces": 3})
    work(ledger)
    assert list(client.results(again.id)) == [no_face(items[number]) for number in (5, 99)]
    whole = client.retry(job.id, all_failed=True)
    assert whole.images == 3


@in_redis
def test_the_error_for_a_job_without_images_to_retry_says_what_failed(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger)
    with pytest.raises(SourceError, match=rf"^job {job.id} has no images to retry: none failed$"):
        client.retry(job.id)
    job = client.submit(URIS)
    work(ledger, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    with pytest.raises(SourceError, match=r": 100 not_found: these will probably fail again; --all [^\n]+$"):
        client.retry(job.id)


@in_redis
def test_the_rest_of_a_stopped_job_is_submitted_with_its_failed_images(client: Client, ledger: Ledger) -> None:
    items = [Item(uri=uri, id=str(number), version="v1") for number, uri in enumerate(URIS)]
    job = client.submit(items, chunk_size=20, any_worker=True)
    code = ErrorCode.FETCH_FAILED
    work(ledger, chunks=2, end=lambda item: failed(item, code) if item.id in {"3", "30"} else no_face(item))
    client.cancel(job.id)
    rest = client.retry(job.id, rest=True)
    assert client.status(rest.id).fingerprint == "*"
    work(ledger)
    wanted = [items[number] for number in (3, 30, *range(40, 100))]
    assert list(client.results(rest.id)) == [no_face(item) for item in wanted]
    assert client.status(rest.id).parent == job.id


@in_redis
def test_a_job_that_was_cancelled_before_its_first_chunk_can_be_submitted_again(client: Client) -> None:
    job = client.submit(URIS)
    client.cancel(job.id)
    with pytest.raises(SourceError, match=r"none failed; 100 images have no result: --rest submits them$"):
        client.retry(job.id)
    assert client.retry(job.id, rest=True).images == 100


@in_redis
def test_a_finished_job_has_no_rest(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger)
    with pytest.raises(SourceError, match=r"has no images to retry: none failed$"):
        client.retry(job.id, rest=True)
