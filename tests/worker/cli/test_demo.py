"""`fiqa demo` from its photos to its contact sheet."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import cv2

from fiqa import ImageResult, Status
from tests.fiqa_process import Fiqa, one_line

PAGE = Path(__file__).parents[3] / "docs" / "thresholds.md"


def check_the_example_of_thresholds(qualities: dict[str, float]) -> None:
    """The table of docs/thresholds.md is true for the demo's photos."""
    page = PAGE.read_text()
    rows = re.findall(r"^\| (0\.\d00) \| (\d+) \| (.*)\|$", page, re.MULTILINE)
    assert len(rows) == 6
    for (least, number, failing), next_least in zip(rows, [*(row[0] for row in rows[1:]), None], strict=True):
        passing = {name for name, quality in qualities.items() if quality >= float(least)}
        assert len(passing) == int(number)
        if next_least:
            expected = {name for name in passing if qualities[name] < float(next_least)}
            assert set(re.findall(r"`([^`]+)`", failing)) == expected
    assert page.count(f"{len(qualities)} photos have a face") == 1


def test_the_demo_scores_its_photos_and_quality_falls_with_every_strength(fiqa: Fiqa, tmp_path: Path) -> None:
    done = fiqa("demo")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "cwd" / "fiqa-demo"
    results = [ImageResult.decode(line) for line in (folder / "results.jsonl").read_bytes().splitlines()]
    names = {Path(result.uri).stem: result for result in results}
    assert set(names) == {path.stem for path in (folder / "photos").iterdir()}
    assert len(results) >= 30
    strengths: dict[str, list[float]] = defaultdict(list)
    original = names["original-0"].faces[0].quality
    for name, result in sorted(names.items()):
        kind, strength = name.split("-")
        if result.status is Status.SCORED and kind in {"blur", "downsample", "noise", "jpeg", "dark", "occlusion"}:
            assert int(strength) == len(strengths[kind]) + 1
            strengths[kind].append(result.faces[0].quality)
    assert len(strengths) == 6
    for kind, qualities in strengths.items():
        assert [original, *qualities] == sorted([original, *qualities], reverse=True), kind
        assert len(qualities) >= 3
    assert cv2.imread(str(folder / "contact-sheet.jpg")) is not None
    check_the_example_of_thresholds({name: each.faces[0].quality for name, each in names.items() if each.faces})
    shown = re.findall(r"^(\S+)\.jpg +\d+x\d+ +\d+ +(\d\.\d{3})", done.stdout, re.MULTILINE)
    assert [float(quality) for _, quality in shown] == sorted((float(quality) for _, quality in shown), reverse=True)
    assert len(shown) == sum(result.status is Status.SCORED for result in results)


def test_a_demo_touches_no_file_that_is_not_its_own(fiqa: Fiqa, tmp_path: Path) -> None:
    mine = tmp_path / "cwd" / "photos" / "mine.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"precious")
    refused = fiqa("demo", "-o", ".")
    assert refused.returncode == 2
    assert one_line(refused).startswith("fiqa: photos exists already: ")
    assert [path.name for path in mine.parent.iterdir()] == ["mine.jpg"]
    done = fiqa("demo", "-o", ".", "--force")
    assert done.returncode == 0, done.stderr
    assert mine.read_bytes() == b"precious"
    assert "mine.jpg" not in (tmp_path / "cwd" / "results.jsonl").read_text()
