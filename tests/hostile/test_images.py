"""A part of the corpus, and a sample of it through a real worker.

FIQA_TEST_MUTATIONS sets how many; the whole of it is `python -m tests.hostile`.
"""

from __future__ import annotations

import json
import os
import subprocess
import zlib
from pathlib import Path

import pytest

from fiqa import Client, JobState, Status
from tests.conftest import Bucket
from tests.hostile.bombs import bombs
from tests.hostile.corpus import mutation, originals
from tests.hostile.feed import MAX_PIXELS, decode_outcome, feed
from tests.integration.conftest import StartWorker
from tests.waiting import WAIT_S
from tests.worker.pipeline.files import png_file
from tests.worker.pipeline.images import jpeg, portrait

SEED = 1


def test_mutations_are_the_same_each_time() -> None:
    numbers = [*range(0, 2000, 97)]
    assert [mutation(SEED, number) for number in numbers] == [mutation(SEED, number) for number in numbers]
    assert len({mutation(seed, len(bombs()))[1] for seed in range(10)}) > 5


def test_the_originals_of_the_mutations_are_valid() -> None:
    outcomes = {name: decode_outcome(data) for name, data in originals().items()}
    assert outcomes == dict.fromkeys(originals(), "decoded") | {"tiff float": "unsupported_format"}


@pytest.mark.timeout(600)
def test_no_mutation_crashes_or_hangs_the_decoder_or_exceeds_its_memory() -> None:
    count = int(os.environ.get("FIQA_TEST_MUTATIONS", "3000"))
    found = feed(SEED, range(count))
    assert found.bad == []
    assert found.fed == count
    # The mutations have to reach the decoders, and not only the checks before them.
    assert found.outcomes["decoded"] > count / 10
    assert found.outcomes["decode_failed"] > count / 10
    assert found.outcomes["too_many_pixels"] > count / 100


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("s3_env")
def test_hostile_images_in_s3_end_as_one_result_each_in_a_worker_that_lives_on(
    redis_url: str, bucket: Bucket, start_worker: StartWorker
) -> None:
    numbers = [*range(len(bombs())), *range(1000, 1400)]
    expected = {}
    for number in numbers:
        _, data = mutation(SEED, number)
        if len(data) < 1 << 20:
            expected[bucket.put(f"{number:06}", data)] = decode_outcome(data)
    worker = start_worker(FIQA_MAX_IMAGE_PIXELS=str(MAX_PIXELS), FIQA_ALLOWED_SOURCES=f"s3://{bucket.name}/")
    with Client(redis_url, f"s3://{bucket.name}/fiqa") as client:
        first = client.submit([next(iter(expected))])
        client.wait(first.id, WAIT_S)
        children = children_of(worker.process.pid)
        job = client.submit(expected)
        status = client.wait(job.id, WAIT_S)
        results = list(client.results(job.id))
    assert status.state is JobState.SUCCEEDED
    assert [result.uri for result in results] == list(expected)
    ends = {result.uri: str(result.error.code) if result.error else "decoded" for result in results}
    assert ends == expected
    assert children_of(worker.process.pid) == children
    assert "Traceback" not in worker.log


def test_lines_that_decoders_print_become_log_lines_that_name_the_image(
    redis_url: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    frame = jpeg(portrait())
    tables = frame.index(b"\xff\xdb")
    scan = frame.index(b"\xff\xda") + 400
    profile = (b"iCCP", b"p\0\0" + zlib.compress(bytes(100)))
    files = {
        "stray.jpg": frame[:tables] + b"abc" + frame[tables:],
        "damaged-scan.jpg": frame[:scan] + bytes(40) + b"\xff\xd5" + frame[scan + 60 :],
        "cut.jpg": frame[: len(frame) // 2],
        "profile.png": png_file(portrait(), before=[profile]),
        "cut.tiff": originals()["tiff lzw"][:-30],
        "text.png": png_file(portrait(), after=[(b"tEXt", b"\xff" * 100)]),
    }
    uris = []
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        uris.append((tmp_path / name).as_uri())
    worker = start_worker(FIQA_ALLOWED_SOURCES="file:///", FIQA_LOG_FORMAT="json")
    with Client(redis_url, str(tmp_path / "storage")) as client:
        job = client.submit(uris)
        client.wait(job.id, WAIT_S)
        ends = {result.uri.rpartition("/")[2]: result.status for result in client.results(job.id)}
    assert ends["stray.jpg"] == ends["profile.png"] == Status.SCORED
    assert ends["cut.jpg"] == ends["cut.tiff"] == Status.FAILED
    worker.process.terminate()
    worker.process.wait(WAIT_S)
    lines = [json.loads(line) for line in worker.log.splitlines()]
    warnings = {line["message"] for line in lines if line["logger"] == "fiqa_worker.pipeline.in_progress"}
    assert f"{uris[0]}: Corrupt JPEG data: 3 extraneous bytes before marker 0xdb" in warnings
    assert all(warning.startswith(tuple(uris)) for warning in warnings)


def children_of(process: int) -> list[int]:
    """Return the child processes: for a worker, its pool and the tracker of its semaphores."""
    listed = subprocess.run(["ps", "--ppid", str(process), "-o", "pid="], capture_output=True, text=True, check=True)
    return sorted(int(word) for word in listed.stdout.split())
