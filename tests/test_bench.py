"""The whole benchmark runs on the project's own images and models, and every competitor does the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.settings import WorkerSettings
from tests.bench import image_sets
from tests.bench.figures import COMPETITORS, LIMIT, NAIVE, PIPELINE, RATIOS, REFERENCE, SYSTEM, SYSTEM_2
from tests.worker.pipeline.images import portrait_jpeg

ROOT: Final = Path(__file__).parents[1]
FIQA: Final = (LIMIT, PIPELINE, SYSTEM, SYSTEM_2)


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The output of the quick benchmark, and its JSON."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    done = bench("--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


# It starts servers and five kinds of workers, and the reference takes a second an image.
SLOW: Final = pytest.mark.timeout(500)


@SLOW
def test_every_competitor_has_its_turn_on_every_set(quick: tuple[str, dict[str, Any]]) -> None:
    _, figures = quick
    assert [one["name"] for one in figures["sets"]] == ["demo", "12mp"]
    for one in figures["sets"]:
        assert tuple(one["competitors"]) == COMPETITORS
        for competitor in one["competitors"].values():
            assert competitor["images_per_s"]["min"] > 0
            assert all(images % one["images"] == 0 for images in competitor["images"])
        assert set(one["ratios"]) == set(RATIOS)
        assert all(ratio["median"] > 0 for ratio in one["ratios"].values())
        assert all(ratio["median"] > 0 for ratio in one["processor_ratios"].values())


@SLOW
def test_all_ways_through_fiqa_find_the_same_faces(quick: tuple[str, dict[str, Any]]) -> None:
    _, figures = quick
    for one in figures["sets"]:
        faces = {name: one["competitors"][name]["faces_per_image"] for name in COMPETITORS}
        assert {faces[name] for name in FIQA} == {1.0}
        assert faces[REFERENCE] == faces[NAIVE]


@SLOW
def test_stages_the_machine_memory_and_starts_are_reported(quick: tuple[str, dict[str, Any]]) -> None:
    _, figures = quick
    for one in figures["sets"]:
        assert all(one["stages_ms"][stage] > 0 for stage in ("decode", "detect", "align", "score"))
        for machine in one["machine"].values():
            assert all(0 <= share <= 1 for share in machine["idle"].values())
            assert machine["others_ms"] >= 0
    assert figures["memory_mb"]["at_rest"] > 0
    assert all(start["worker_s"] > 0 and start["run_s"] > 0 for start in figures["starts"])
    assert len(figures["starts"]) == figures["rounds"] == 1


@SLOW
def test_the_tables_show_the_same(quick: tuple[str, dict[str, Any]]) -> None:
    printed, figures = quick
    for words in (
        "reference: ",
        "limit: ",
        "pipeline, ",
        "system, 1 process",
        "system, 2 processes",
        "naive worker",
        *RATIOS,
    ):
        assert words in printed
    for name in figures["machine"].values():
        assert name.split()[0] in printed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--models", "."), "bench: --models .: it does not hold face_detection_yunet_2023mar.onnx"),
        (("--data", "deploy"), "bench: deploy: there are no images in this folder"),
        (("--sets", "lfw"), "bench: --sets: there is no lfw with this --data"),
        (("parity", "--data", "deploy", "--models", "."), "bench: --models .: it does not hold face_detection_yunet"),
    ],
)
def test_the_error_for_a_wrong_argument_is_one_line(words: Sequence[str], line: str) -> None:
    done = bench(*words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in done.stderr


def test_made_images_are_the_same_bytes_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_DETECTOR", "builtin_detector")
    monkeypatch.setenv("FIQA_QUALITY_MODEL", "builtin_quality")
    detector = Pipeline.load(WorkerSettings.load()).detector
    (first,) = image_sets.collect(None, tmp_path / "first", detector, names=["groups"], quick=True)
    (second,) = image_sets.collect(None, tmp_path / "second", detector, names=["groups"], quick=True)
    assert [path.read_bytes() for path in first.files] == [path.read_bytes() for path in second.files]


def test_the_second_look_is_measured_on_images_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "lfw").mkdir()
    (tmp_path / "lfw" / "portrait.jpg").write_bytes(portrait_jpeg())
    done = bench("second_look", "--data", str(tmp_path), "--rounds", "1")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if "turned by 180" in line)
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["0.0%", "100.0%"]
