"""Hostile text and shards: each is taken or refused with one clear line, whatever it is, within its memory."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from pathlib import Path

import pytest

from fiqa.contract import ImageResult, Item, JobSpec
from fiqa.errors import ContractError, FiqaError, SourceError
from fiqa.sources.manifest import read_source
from fiqa.storage.shards import unpack
from tests.hostile.feed import ROOT
from tests.hostile.lines import FAILED, GOOD, flipped, line, shard

SEED = 1
COUNT = 10_000


@pytest.mark.parametrize(
    ("kind", "good"), [*GOOD.items(), (ImageResult, FAILED)], ids=["item", "result", "job", "failed result"]
)
def test_a_line_is_taken_or_refused_with_one_sentence(kind: type[Item | ImageResult | JobSpec], good: bytes) -> None:
    refusals: list[str] = []
    for number in range(COUNT):
        try:
            found = kind.decode(line(SEED, number, good))
        except ContractError as error:
            refusals.append(str(error))
        else:
            assert kind.decode(found.encode()) == found
    assert COUNT / 20 < len(refusals) < COUNT
    assert_short(refusals)


def assert_short(messages: list[str]) -> None:
    """One line each, not as long as what it is about."""
    assert [message for message in messages if "\n" in message or len(message) > 400] == []


def test_a_shard_is_taken_or_refused_with_one_sentence() -> None:
    refusals: list[str] = []
    for number in range(COUNT):
        try:
            [Item.decode(text) for text in unpack(shard(SEED, number))]
        except FiqaError as error:
            refusals.append(str(error))
    assert COUNT / 20 < len(refusals) < COUNT
    assert_short(refusals)


def test_a_source_list_is_read_to_its_end_whatever_its_lines_are(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    lines = [line(SEED, number, GOOD[Item]).replace(b"\n", b" ") for number in range(COUNT)]
    path.write_bytes(b"s3://b/good.jpg\n".join(text + b"\n" for text in lines))
    errors: list[SourceError] = []
    items = list(read_source([str(path)], on_bad_line=errors.append))
    assert sum(item.uri == "s3://b/good.jpg" for item in items) == COUNT - 1
    assert len(errors) > COUNT / 20
    assert_short([str(error) for error in errors])
    assert all(Item.decode(item.encode()) == item for item in items)


def test_a_compressed_source_list_is_read_or_refused_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "list.txt.gz"
    good = gzip.compress(b"s3://b/good.jpg\n" * 50)
    refusals: list[str] = []
    for number in range(500):
        path.write_bytes(flipped(good, random.Random(number)))  # noqa: S311  no secret
        try:
            list(read_source([str(path)], on_bad_line=lambda _: None))
        except SourceError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(refusal.startswith(str(path)) for refusal in refusals)
    assert_short(refusals)


BOMBS = """
import resource, struct, sys, zlib
from fiqa.errors import FiqaError
from fiqa.storage.shards import unpack
from fiqa.sources.manifest import read_source

def bomb(byte, megabytes):
    megabyte = byte * (1 << 20)
    squeezer = zlib.compressobj(1, wbits=-15)
    block = squeezer.compress(megabyte) + squeezer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    crc = 0
    for _ in range(megabytes):
        crc = zlib.crc32(megabyte, crc)
    end = b"\\3\\0" + struct.pack("<II", crc, len(megabyte) * megabytes % (1 << 32))
    return bytes([31, 139, 8, 0, 0, 0, 0, 0, 0, 255]) + block * megabytes + end

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before = peak_mb()
gigabyte = bomb(b"x", 1024)
open(sys.argv[1], "wb").write(gigabyte)
bad = []
print("items", sum(1 for _ in read_source([sys.argv[1]], on_bad_line=bad.append)), *bad)
print("list", peak_mb() - before)
for shard in (gigabyte, bomb(b"\\n", 255), bomb(b"{}\\n", 85)):
    try:
        unpack(shard)
    except FiqaError as error:
        print("refused", error)
print("shards", peak_mb() - before)
"""


def test_a_gigabyte_in_a_few_megabytes_takes_no_more_than_a_shard_may(tmp_path: Path) -> None:
    path = tmp_path / "list.txt.gz"
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed = [text.split(" ", 1) for text in done.stdout.splitlines()]
    assert printed[0] == ["items", f"0 {path}, line 1: longer than 65536 bytes"]
    assert [why for what, why in printed if what == "refused"] == [
        "a shard is damaged: it is cut off, or larger than fiqa writes",
        "a shard is damaged: it has more lines than fiqa writes",
        "a shard is damaged: it has more lines than fiqa writes",
    ]
    taken = {what: int(mb) for what, mb in printed if what in {"list", "shards"}}
    assert taken["list"] < 50
    assert taken["shards"] < 2 * 256 + 100
