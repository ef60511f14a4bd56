from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fiqa_worker.errors import ModelError
from fiqa_worker.models.locate import find, verify
from fiqa_worker.models.registry import REGISTRY, Kind, Model
from tests.conftest import Bucket

CONTENT = b"stands for a model file" * 10_000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fiqa" / "models"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model of the registry whose content the tests have."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    urls = ("https://127.0.0.1:9/known.onnx",)
    model = Model("known", "known.onnx", len(CONTENT), sha256, "MIT", "these tests", urls, "detector", 0.7)
    monkeypatch.setitem(REGISTRY, "known", model)
    return model


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="run `fiqa models pull`, or set FIQA_MODELS_DIR to the folder that holds"):
        find("yunet_2023mar", "detector", str(tmp_path))


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / REGISTRY["yunet_2023mar"].file
    path.write_bytes(b"something else")
    actual = hashlib.sha256(b"something else").hexdigest()[:12]
    with pytest.raises(ModelError, match=rf"{path}: refused.*{actual}.*8f2383e4dd3c") as error:
        find("yunet_2023mar", "detector", str(tmp_path))
    assert "\n" not in str(error.value)
    assert {check.model.name: check.state for check in verify(str(tmp_path))} == {
        "yunet_2023mar": "refused",
        "ediffiqa_tiny_jun2024": "missing",
        "builtin_detector": "verified",
        "builtin_quality": "verified",
    }


def test_a_pinned_file_is_found_in_a_local_folder(known: Model, tmp_path: Path) -> None:
    (tmp_path / known.file).write_bytes(CONTENT)
    found = find("known", "detector", str(tmp_path))
    assert (found.path, found.data) == (tmp_path / known.file, CONTENT)


def test_a_detector_is_refused_as_a_quality_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="builtin_detector is a detector model, not a quality model: use ediffiqa"):
        find("builtin_detector", "quality", str(tmp_path))


@pytest.mark.parametrize(("kind", "threshold"), [("detector", 0.7), ("quality", 0.0)])
def test_a_file_given_by_path_is_named_after_its_content(kind: Kind, threshold: float, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(CONTENT)
    model = find(str(path), kind, str(tmp_path))
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert (model.name, model.path, model.sha256, model.threshold) == (f"mine@{sha256[:8]}", path, sha256, threshold)


def test_a_path_that_does_not_exist_and_an_unknown_name_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read .*mine\.onnx: No such file"):
        find(str(tmp_path / "mine.onnx"), "detector", str(tmp_path))
    with pytest.raises(ModelError, match=r"there is no detector model yunet: use yunet_2023mar or builtin_detector"):
        find("yunet", "detector", str(tmp_path))


@pytest.mark.usefixtures("s3_env")
def test_a_mirror_is_read_once_into_the_cache_and_verified(known: Model, cache: Path, bucket: Bucket) -> None:
    mirror = bucket.uri("models")
    with pytest.raises(ModelError, match=f"known is not in {mirror}: run `fiqa models pull`"):
        find("known", "detector", mirror)
    bucket.put(f"models/{known.file}", CONTENT[::-1])
    with pytest.raises(ModelError, match=f"{mirror}: refused"):
        find("known", "detector", mirror)
    bucket.put(f"models/{known.file}", CONTENT)
    assert find("known", "detector", f"{mirror}/").path == cache / known.file
    bucket.client.delete_object(Bucket=bucket.name, Key=f"models/{known.file}")
    assert find("known", "detector", mirror).data == CONTENT
    (cache / known.file).unlink()
    with pytest.raises(ModelError, match=r"cannot read s3://nowhere-at-all/known\.onnx: no such bucket"):
        find("known", "detector", "s3://nowhere-at-all")


@pytest.mark.usefixtures("s3_env")
def test_a_mirror_needs_a_cache_that_can_be_written(known: Model, cache: Path, bucket: Bucket) -> None:
    bucket.put(f"models/{known.file}", CONTENT)
    cache.parent.parent.write_bytes(b"")
    with pytest.raises(ModelError, match=r"cannot write .*known\.onnx: .*: set XDG_CACHE_HOME to a writable folder"):
        find("known", "detector", bucket.uri("models"))
