"""What `fiqa run` and `fiqa demo` share: results as they come, and why a job failed."""

from __future__ import annotations

import re
from pathlib import Path

from fiqa import ImageResult
from tests.fiqa_process import Fiqa


def test_run_streams_results_of_folders_lists_and_standard_input(fiqa: Fiqa, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("blur-1.jpg", "noface-1.jpg"):
        (folder / name).write_bytes((photos / name).read_bytes())
    (tmp_path / "list.txt").write_text(f"{photos / 'blur-2.jpg'}\n")
    done = fiqa("run", folder, tmp_path / "list.txt", "-", stdin=f"{photos / 'blur-3.jpg'}\n")
    assert done.returncode == 0, done.stderr
    results = [ImageResult.decode(line) for line in done.stdout.splitlines()]
    assert [Path(result.uri).name for result in results] == ["blur-1.jpg", "noface-1.jpg", "blur-2.jpg", "blur-3.jpg"]
    assert [result.status for result in results] == ["scored", "no_face", "scored", "scored"]
    assert "4/4" in done.stderr


def test_a_run_whose_images_all_failed_reports_it_with_the_reason(fiqa: Fiqa, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(3):
        (broken / f"{number}.jpg").write_bytes(b"\xff\xd8 cut")
    done = fiqa("run", broken, "-o", tmp_path / "out.jsonl")
    assert done.returncode == 1
    assert re.search(
        r"^fiqa: 100 % failed, more than 50 %: the first is file:///.*/0\.jpg: \w+: .+$", done.stderr, re.MULTILINE
    )
