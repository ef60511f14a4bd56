"""A few seconds of the fuzzer, to see that it runs. `python -m tests.hostile.fuzz` runs it for ten minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.fuzz import fuzz_one, run, write_seeds


def test_the_fuzzers_seeds_find_nothing(tmp_path: Path) -> None:
    write_seeds(tmp_path)
    seeds = sorted(tmp_path.iterdir())
    assert len(seeds) > 50
    for seed in seeds:
        fuzz_one(seed.read_bytes())


def test_the_fuzzer_runs_and_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is in the extra `fuzz`, not in `dev`")
    executions, finding = run("-runs=20000", tmp_path / "corpus")
    assert finding == ""
    assert executions >= 20_000
