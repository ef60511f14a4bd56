from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from fiqa.errors import SettingsError
from fiqa_worker.errors import ModelError
from fiqa_worker.models.pull import fetch_or_builtin, pull
from fiqa_worker.models.registry import REGISTRY, Model
from tests.worker.models.https import CONTENT

OFFICIAL = ("yunet_2023mar", "ediffiqa_tiny_jun2024")


def model_at(*urls: str) -> Model:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return Model("known", "known.onnx", len(CONTENT), sha256, "MIT", "these tests", urls, "detector", 0.7)


def test_pull_tries_the_addresses_in_order_and_reports_progress(server: str, tmp_path: Path) -> None:
    seen: list[int] = []
    model = model_at(f"{server}/missing", f"{server}/other.onnx", f"{server}/model.onnx")
    pulled = pull(model, tmp_path / "new", timeout_s=10, attempts=1, progress=seen.append)
    assert pulled.path.read_bytes() == CONTENT
    assert seen[-1] == len(CONTENT)
    assert [path.name for path in pulled.path.parent.iterdir()] == ["known.onnx"]


def test_pull_keeps_a_file_that_is_already_right(tmp_path: Path) -> None:
    (tmp_path / "known.onnx").write_bytes(CONTENT)
    assert pull(model_at("https://127.0.0.1:9/known.onnx"), tmp_path, timeout_s=1).path == tmp_path / "known.onnx"


def test_pull_says_which_addresses_it_tried_and_why_each_failed(server: str, tmp_path: Path) -> None:
    paths = ("missing", "other.onnx", "long.onnx", "plain")
    with pytest.raises(ModelError) as error:
        pull(model_at(*(f"{server}/{path}" for path in paths)), tmp_path, timeout_s=10, attempts=1)
    message = str(error.value)
    assert "/missing: HTTP Error 404" in message
    assert "/other.onnx: this is not known.onnx: its SHA-256 is" in message
    assert f"/long.onnx: sends more than the {len(CONTENT):,} bytes" in message
    assert "/plain: unknown url type: http)" in message
    assert message.endswith(
        f": put known.onnx into {tmp_path} by hand, or set FIQA_MODELS_DIR to the folder that holds it"
    )
    assert "<" not in message
    assert list(tmp_path.iterdir()) == []


def test_pull_does_not_trust_a_certificate_it_cannot_check(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ModelError, match="CERTIFICATE_VERIFY_FAILED"):
        pull(model_at(f"{server}/model.onnx"), tmp_path, timeout_s=10, attempts=1)


def test_the_error_for_a_folder_that_cannot_be_written_is_one_clear_line(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match=r"cannot write .* set FIQA_MODELS_DIR to a writable folder"):
        pull(model_at(f"{server}/model.onnx"), tmp_path / "file", timeout_s=10)


def test_built_in_models_are_the_fallback_for_official_ones_that_do_not_come_in_time(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OFFICIAL:
        monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], urls=(f"{server}/stalls",)))
    detector, quality, note = fetch_or_builtin(
        str(tmp_path), detector=OFFICIAL[0], quality_model=OFFICIAL[1], timeout_s=0.2
    )
    assert (detector.name, quality.name) == ("builtin_detector", "builtin_quality")
    assert note is not None
    assert "builtin_detector and builtin_quality" in note
    assert "not comparable" in note
    assert "\n" not in note


def test_each_model_has_its_own_fallback_and_a_reachable_model_is_fetched(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reachable = replace(model_at(f"{server}/model.onnx"), name=OFFICIAL[0])
    monkeypatch.setitem(REGISTRY, OFFICIAL[0], reachable)
    monkeypatch.setitem(REGISTRY, OFFICIAL[1], replace(REGISTRY[OFFICIAL[1]], urls=(f"{server}/missing",)))
    detector, quality, note = fetch_or_builtin(str(tmp_path), detector=OFFICIAL[0], quality_model=OFFICIAL[1])
    assert (detector.name, detector.path) == (OFFICIAL[0], tmp_path / "known.onnx")
    assert quality.name == "builtin_quality"
    assert note is not None
    assert note.startswith("using builtin_quality, since ediffiqa_tiny_jun2024 could not be downloaded")


def test_a_model_that_was_chosen_has_no_fallback(tmp_path: Path) -> None:
    found = fetch_or_builtin(str(tmp_path), detector="builtin_detector", quality_model="builtin_quality")
    assert [found[0].name, found[1].name, found[2]] == ["builtin_detector", "builtin_quality", None]
    with pytest.raises(ModelError, match=r"cannot read .*mine\.onnx"):
        fetch_or_builtin(str(tmp_path), detector=str(tmp_path / "mine.onnx"), quality_model="builtin_quality")


@pytest.mark.parametrize("field", [0, 1])
def test_an_official_model_that_the_user_named_is_never_replaced(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: int
) -> None:
    for name in OFFICIAL:
        monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], urls=(f"{server}/missing",)))
    setting = ("FIQA_DETECTOR", "FIQA_QUALITY_MODEL")[field]
    named = {OFFICIAL[field]: setting}
    expected = rf"^{setting}: {OFFICIAL[field]} is not in .* and could not be downloaded: run `fiqa models pull`, or"
    with pytest.raises(SettingsError, match=expected):
        fetch_or_builtin(str(tmp_path), detector=OFFICIAL[0], quality_model=OFFICIAL[1], named=named)


def test_a_wrong_official_file_is_refused_and_has_no_fallback(tmp_path: Path) -> None:
    (tmp_path / REGISTRY[OFFICIAL[0]].file).write_bytes(b"something else")
    with pytest.raises(ModelError, match="refused"):
        fetch_or_builtin(str(tmp_path), detector=OFFICIAL[0], quality_model="builtin_quality")
