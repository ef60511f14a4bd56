from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fiqa_worker.demo.photos import make_photos
from fiqa_worker.errors import ModelError
from fiqa_worker.models.locate import find
from fiqa_worker.models.prepare import prepare, prepared_dirs, store_prepared
from tests.worker.models import graphs

BUILT_IN = {"FIQA_DETECTOR": "builtin_detector", "FIQA_QUALITY_MODEL": "builtin_quality"}
# A user without an entry in /etc/passwd. It may read all files of this user, and write none of them.
USER_WITHOUT_HOME = (
    *("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)


def prepared_files(folder: Path) -> list[Path]:
    return sorted((folder / "prepared").iterdir())


def test_a_model_is_prepared_once_for_each_content(tmp_path: Path) -> None:
    model, other = graphs.quality(tmp_path / "model.onnx"), find("builtin_quality", "quality", str(tmp_path))
    prepared = prepare(model, tmp_path)
    (path,) = prepared_files(tmp_path)
    made = path.stat().st_mtime_ns
    assert (prepared.name, prepared.sha256, prepared.path) == (model.name, model.sha256, model.path)
    assert prepare(model, tmp_path) == prepared
    assert store_prepared(model, tmp_path) == path
    assert path.stat().st_mtime_ns == made
    prepare(other, tmp_path)
    assert len(prepared_files(tmp_path)) == 2


def test_the_published_file_stays_as_it_is(tmp_path: Path) -> None:
    model = graphs.detector(tmp_path / "model.onnx")
    prepare(model, tmp_path)
    assert model.path.read_bytes() == model.data


def test_the_bytes_that_were_verified_are_prepared_even_if_the_file_is_replaced(tmp_path: Path) -> None:
    model = graphs.quality(tmp_path / "model.onnx")
    expected = prepare(model, tmp_path / "first")
    model.path.write_bytes(b"something else")
    assert prepare(model, tmp_path / "second") == expected


@pytest.mark.parametrize("damage", ["swapped", "cut", "empty", "one bit"])
def test_a_damaged_prepared_model_is_detected_and_made_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = graphs.quality(tmp_path / "model.onnx")
    prepared = prepare(model, tmp_path)
    (path,) = prepared_files(tmp_path)
    if damage == "swapped":
        prepare(find("builtin_quality", "quality", ""), tmp_path / "other")
        shutil.copy(prepared_files(tmp_path / "other")[0], path)
    else:
        flipped = bytes([prepared.data[0], prepared.data[1] ^ 1]) + prepared.data[2:]
        path.write_bytes({"cut": prepared.data[:-100], "empty": b"", "one bit": flipped}[damage])
    assert prepare(model, tmp_path) == prepared
    assert prepared_files(tmp_path) == [path]
    assert path.read_bytes() == prepared.data
    assert [record.message for record in caplog.records] == [
        f"prepared model refused, making it again: the content of {path} does not match the hash in its name"
    ]


def test_the_models_folder_comes_first_if_it_is_there_and_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache" / "fiqa" / "models"
    assert prepared_dirs(str(tmp_path)) == [tmp_path, cache]
    assert prepared_dirs(str(tmp_path / "missing")) == prepared_dirs("s3://bucket/models") == [cache]
    model = graphs.quality(tmp_path / "model.onnx")
    (tmp_path / "unwritable").write_bytes(b"")
    assert store_prepared(model, tmp_path / "unwritable", tmp_path / "second").is_relative_to(tmp_path / "second")
    prepare(model, tmp_path / "first", tmp_path / "second")
    assert not (tmp_path / "first").exists()
    assert store_prepared(model, tmp_path / "first", tmp_path / "second").is_relative_to(tmp_path / "first")


def test_without_a_folder_that_can_be_written_a_model_is_prepared_in_memory_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "prepared").write_bytes(b"")
    model = graphs.quality(tmp_path / "model.onnx")
    expected = prepare(model, tmp_path / "writable")
    assert prepare(model, tmp_path) == prepare(model, tmp_path) == expected
    (warning,) = (record.message for record in caplog.records)
    assert f"{tmp_path / 'prepared'}: Not a directory" in warning
    assert "set FIQA_MODELS_DIR or XDG_CACHE_HOME to a writable folder" in warning
    with pytest.raises(ModelError, match="prepared models cannot be stored"):
        store_prepared(model, tmp_path)


def test_a_stored_model_is_loaded_without_importing_onnx(tmp_path: Path) -> None:
    load = (
        "import sys; from fiqa_worker.pipeline.pipeline import Pipeline;"
        "from fiqa_worker.settings import WorkerSettings;"
        "Pipeline.load(WorkerSettings.load()); print('onnx' in sys.modules)"
    )
    env = {**os.environ, **BUILT_IN, "FIQA_MODELS_DIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    outputs = [subprocess.check_output([sys.executable, "-c", load], env=env, text=True).strip() for _ in range(2)]
    assert outputs == ["True", "False"]


def run_as_a_user_without_home(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `fiqa` as USER_WITHOUT_HOME, with nothing but BUILT_IN and `env` in its environment."""
    command = [*USER_WITHOUT_HOME, sys.executable, "-m", "fiqa", *map(str, arguments)]
    return subprocess.run(command, env={**BUILT_IN, **env}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def _may_change_user() -> None:
    if not shutil.which("setpriv") or subprocess.run([*USER_WITHOUT_HOME, "true"], check=False).returncode:
        pytest.skip("only root, with setpriv, may start a process of another user")


@pytest.fixture
def image() -> Iterator[Path]:
    """An image in a folder that every user may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield make_photos(Path(folder))[0]


@pytest.mark.usefixtures("_may_change_user")
def test_a_user_without_home_and_passwd_entry_scores_from_a_read_only_folder(image: Path, tmp_path: Path) -> None:
    alone = run_as_a_user_without_home("score", image, FIQA_MODELS_DIR=str(tmp_path))
    assert (alone.returncode, alone.stdout[:9]) == (0, "quality 0"), alone.stderr
    assert len(alone.stderr.splitlines()) == 1
    assert f"prepared models cannot be stored ({tmp_path / 'prepared'}: Permission denied): set FIQA" in alone.stderr

    env = {**os.environ, **BUILT_IN, "FIQA_MODELS_DIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    made = subprocess.check_output([sys.executable, "-m", "fiqa", "models", "prepare"], env=env, text=True)
    assert sorted(map(Path, made.split())) == prepared_files(tmp_path)
    prepared = run_as_a_user_without_home("score", image, FIQA_MODELS_DIR=str(tmp_path))
    assert (prepared.returncode, prepared.stdout, prepared.stderr) == (0, alone.stdout, "")

    damaged = prepared_files(tmp_path)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = run_as_a_user_without_home("score", image, FIQA_MODELS_DIR=str(tmp_path))
    assert (again.returncode, again.stdout) == (0, alone.stdout)
    refused, not_stored = again.stderr.splitlines()
    assert refused.startswith("prepared model refused")
    assert not_stored.startswith("prepared models cannot be stored")


@pytest.mark.usefixtures("_may_change_user")
def test_a_user_without_home_and_without_a_models_folder_gets_one_clear_line(image: Path) -> None:
    for env, line in (
        ({}, "this user has no home folder: set FIQA_MODELS_DIR to a folder for the models"),
        ({"FIQA_MODELS_DIR": "~/models"}, "~/models: this user has no home folder: give the whole path"),
        ({"FIQA_MODELS_DIR": "s3://b"}, "s3://b: there is no folder to copy models to: set XDG_CACHE_HOME"),
    ):
        run = run_as_a_user_without_home("score", image, **{**env, "FIQA_DETECTOR": "yunet_2023mar"})
        assert run.returncode != 0
        assert run.stderr.startswith(f"fiqa: {line}")
        assert len(run.stderr.splitlines()) == 1
