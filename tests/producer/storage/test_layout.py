from __future__ import annotations

from fiqa.storage.layout import chunks_of, document_path, job_path, part_path, shard_path

JOB = "20260101-000000-abcdef"


def test_paths_of_shards_sort_in_the_order_of_the_chunks() -> None:
    paths = [shard_path(JOB, "results", chunk) for chunk in (0, 9, 10, 99_999_999)]
    assert paths == sorted(paths)
    assert paths[1] == f"jobs/{JOB}/results/00000009.jsonl.gz"


def test_all_that_belongs_to_a_job_is_below_its_path() -> None:
    for path in (part_path(JOB, "manifest"), shard_path(JOB, "results", 0), document_path(JOB, "summary")):
        assert path.startswith(f"{job_path(JOB)}/")


def test_chunks_are_found_by_their_names_and_other_files_are_ignored() -> None:
    others = ["00000001.jsonl.gz.part", "1.jsonl.gz", ".00000001.jsonl.gz", "summary.json", "00000001.jsonl", ""]
    assert chunks_of(["00000010.jsonl.gz", *others, "00000002.jsonl.gz"]) == [2, 10]
