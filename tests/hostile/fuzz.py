"""Fuzzes all readers of untrusted bytes with Atheris: python -m tests.hostile.fuzz --seconds 600.

It needs `pip install -e '.[dev,fuzz]'`. The coverage of fiqa's modules guides it. Exit status 1 if it finds anything.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_MEMORY_MB: Final = 1024
_TIME_LIMIT_S: Final = 20
_LARGEST: Final = 1 << 16


def run(limit: str, corpus: Path) -> tuple[int, str]:
    """Fuzz up to a limit of libFuzzer; returns the number of executions, and the finding if there is one."""
    write_seeds(corpus)
    command = [
        *(sys.executable, "-m", "tests.hostile.fuzz", "--inside", str(corpus)),
        *(limit, f"-rss_limit_mb={_MEMORY_MB}", f"-timeout={_TIME_LIMIT_S}"),
        *(f"-max_len={_LARGEST}", "-print_final_stats=1", f"-artifact_prefix={corpus.parent}/"),
    ]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    output = done.stdout.decode(errors="replace")
    found = re.search(r"stat::number_of_executed_units: +(\d+)", output)
    return int(found[1]) if found else 0, output[-4000:] if done.returncode else ""


def write_seeds(corpus: Path) -> None:
    """Write valid input of every kind, each after the letter of its reader."""
    from tests.hostile.corpus import originals  # noqa: PLC0415  not needed in the fuzzed process
    from tests.hostile.lines import FAILED, GOOD, shard  # noqa: PLC0415

    corpus.mkdir(exist_ok=True)
    seeds = [b"p" + data for data in originals().values()]
    seeds += [letter + line for letter in (b"i", b"r", b"j", b"l") for line in (*GOOD.values(), FAILED)]
    seeds += [b"s" + shard(1, number) for number in range(20)]
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number:03}").write_bytes(seed)


def fuzz_one(data: bytes) -> None:
    """Pass bytes to the reader that their first letter names. Any error but the reader's own is a finding."""
    from fiqa.contract import ImageResult, Item, JobSpec  # noqa: PLC0415  instrumented by now
    from fiqa.errors import FiqaError  # noqa: PLC0415
    from fiqa.sources.manifest import read_source  # noqa: PLC0415
    from fiqa.storage.shards import unpack  # noqa: PLC0415
    from fiqa_worker.pipeline.decode import decode  # noqa: PLC0415

    body = data[1:]
    stdin = sys.stdin
    try:
        match data[:1]:
            case b"i":
                Item.decode(body)
            case b"r":
                ImageResult.decode(body)
            case b"j":
                JobSpec.decode(body)
            case b"s":
                unpack(body)
            case b"l":
                sys.stdin = io.TextIOWrapper(io.BytesIO(body))
                list(read_source(["-"], on_bad_line=lambda _: None))
            case _:
                image = decode(body, max_pixels=1_000_000)
                assert image.shape[0] * image.shape[1] <= 1_000_000
    except FiqaError:
        pass
    finally:
        sys.stdin = stdin


def _inside(arguments: list[str]) -> None:
    import atheris  # noqa: PLC0415  not in the extra `dev`

    with atheris.instrument_imports(include=["fiqa", "fiqa_worker"]):
        fuzz_one(b"p")
        fuzz_one(b"s")
    atheris.Setup([sys.argv[0], *arguments], fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        _inside(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fiqa-fuzz-") as _folder:
        executions, finding = run(f"-max_total_time={options.seconds}", Path(_folder) / "corpus")
    sys.stdout.write(f"{executions:,} executions in {options.seconds} s, {'a finding:' if finding else 'no finding'}\n")
    sys.stdout.write(finding)
    sys.exit(bool(finding))
