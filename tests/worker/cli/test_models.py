"""`fiqa models` as people type it: real processes, real files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2

from fiqa import ImageResult
from tests.fiqa_process import BUILTIN, Fiqa, one_line


def test_models_list_and_verify_show_which_files_exist(fiqa: Fiqa) -> None:
    listed = fiqa("models", "list")
    assert listed.returncode == 0
    assert re.search(r"yunet_2023mar +detector +MIT +missing", listed.stdout)
    assert re.search(r"builtin_quality +quality +Apache-2.0 +verified", listed.stdout)
    narrow = fiqa("models", "list", environment={"COLUMNS": "40"})
    assert "face_detection_yunet_2023mar.onnx" in narrow.stdout
    as_json = [json.loads(line) for line in fiqa("models", "list", "--json").stdout.splitlines()]
    assert [(model["name"], model["state"]) for model in as_json][::3] == [
        ("yunet_2023mar", "missing"),
        ("builtin_quality", "verified"),
    ]
    verified = fiqa("models", "verify")
    assert verified.returncode == 1
    assert "ediffiqa_tiny_jun2024: missing" in verified.stdout


def test_models_pull_without_a_network_reports_for_each_model_why_and_where_to_put_its_file(
    fiqa: Fiqa, tmp_path: Path
) -> None:
    # A proxy that refuses, so that the test never leaves this machine.
    done = fiqa("models", "pull", environment={"https_proxy": "http://127.0.0.1:9"})
    assert done.returncode == 1
    assert done.stdout == ""
    reported = [line for line in done.stderr.splitlines() if line.startswith("fiqa: ")]
    assert len(reported) == 2
    files = ("face_detection_yunet_2023mar.onnx", "ediffiqa_tiny_jun2024.onnx")
    for line, name, file in zip(reported, ("yunet_2023mar", "ediffiqa_tiny_jun2024"), files, strict=True):
        assert line.startswith(f"fiqa: {name} could not be downloaded (https://")
        assert f"/{file}: Connection refused)" in line
        assert f"put {file} into {tmp_path / 'models'} by hand, or set FIQA_MODELS_DIR" in line
    assert "<" not in done.stderr


def test_an_int8_model_is_calibrated_on_images_and_scores_under_its_own_name(
    fiqa: Fiqa, photos: Path, tmp_path: Path
) -> None:
    group = cv2.imread(str(photos / "group-0.jpg"))
    assert group is not None
    folder = tmp_path / "groups"
    folder.mkdir()
    for index in range(40):  # six faces each, of other light and sharpness
        dimmed = cv2.convertScaleAbs(group, alpha=0.6 + index / 100)
        cv2.imwrite(str(folder / f"{index}.jpg"), cv2.GaussianBlur(dimmed, (0, 0), 0.3 + index / 20))
    done = fiqa("models", "quantize", folder, "-o", "mine.onnx", "--faces", "200")
    assert done.returncode == 0, done.stderr
    model = tmp_path / "cwd" / "mine.onnx"
    assert done.stdout.splitlines()[-1] == f"FIQA_QUALITY_MODEL={model}"
    assert re.search(r"^score difference, mean +0\.00\d\d  \(limit 0\.01\)$", done.stdout, re.MULTILINE)
    scored = fiqa("run", photos / "original-0.jpg", environment={**BUILTIN, "FIQA_QUALITY_MODEL": str(model)})
    (name,) = re.findall(r"its name in results is (mine@[0-9a-f]{8});", done.stdout)
    assert ImageResult.decode(scored.stdout).quality_model == name
    refused = fiqa("models", "quantize", folder, "-o", "other.onnx", "--faces", "200", "--max-mean", "0")
    assert refused.returncode == 1
    assert "refused, nothing was written: the mean difference is over 0" in refused.stderr
    assert not (tmp_path / "cwd" / "other.onnx").exists()


def test_the_error_for_an_int8_model_of_too_few_faces_or_without_a_writable_path_is_one_line(
    fiqa: Fiqa, photos: Path, tmp_path: Path
) -> None:
    few = fiqa("models", "quantize", photos)
    assert few.returncode == 2
    assert few.stderr.splitlines()[-1].endswith("100 of each are needed: give a folder with more images")
    nowhere = fiqa("models", "quantize", photos, "-o", "nowhere/mine.onnx")
    assert nowhere.returncode == 2
    assert "cannot write nowhere/mine.onnx" in one_line(nowhere)
    (tmp_path / "mine.onnx").write_bytes(b"precious")
    for name, why in {"mine.onnx": "exists already", "mine.pb": "its name must end in .onnx"}.items():
        refused = fiqa("models", "quantize", photos, "-o", tmp_path / name)
        assert refused.returncode == 2
        assert why in one_line(refused)
    assert (tmp_path / "mine.onnx").read_bytes() == b"precious"
