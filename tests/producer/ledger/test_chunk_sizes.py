from __future__ import annotations

import pytest

from fiqa.ledger.chunk_sizes import ChunkSizes, size_of


def test_sizes_are_written_as_runs_and_read_back_chunk_by_chunk() -> None:
    given = [*[16] * 8, *[32] * 8, 7]
    sizes = ChunkSizes()
    for size in given:
        sizes.add(size)
    assert str(sizes) == "8x16 8x32 1x7"
    assert [size_of(chunk, str(sizes)) for chunk in range(len(given))] == given


@pytest.mark.parametrize("sizes", ["", "8", "8x", "x16", "8x16,1x7", "8x16  1x7", "-8x16", "8x16 one", "8x16\n"])
def test_what_is_not_a_list_of_sizes_gives_no_size(sizes: str) -> None:
    assert size_of(0, sizes) == 0


def test_a_chunk_after_the_last_one_has_no_size() -> None:
    assert str(ChunkSizes()) == ""
    assert size_of(9, "8x16 1x7") == 0
