"""The worker's half of `fiqa doctor`, with the package's own models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fiqa.doctor.findings import Finding, State, examine
from fiqa.errors import SettingsError
from fiqa_worker import doctor
from fiqa_worker.doctor import worker_checks
from fiqa_worker.models.registry import REGISTRY
from tests.fiqa_process import BUILTIN
from tests.producer.doctor.looking import one


@pytest.fixture(autouse=True)
def builtin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**BUILTIN, "FIQA_MODELS_DIR": str(tmp_path / "models")}.items():
        monkeypatch.setenv(name, value)


def found(*names: str, sources: Sequence[str] = ()) -> list[Finding]:
    """Run the checks of these names."""
    return examine([check for check in worker_checks(sources) if check.name in names])


def the_wrong(findings: list[Finding]) -> str:
    """Return the text of the one finding that is wrong."""
    return one([finding for finding in findings if finding.state is not State.OK], State.WRONG)


def test_models_are_verified_and_tested_and_the_device_is_named() -> None:
    findings = found("models")
    assert [finding.check for finding in findings] == ["models", "models", "self-test", "device"]
    assert {finding.state for finding in findings} == {State.OK}
    assert findings[1].text.startswith("quality: builtin_quality, verified, ")
    assert findings[2].text.endswith("for the test images: as expected")
    assert "onnxruntime 1." in findings[3].text
    assert findings[3].text.startswith("cpu: ")
    assert "CPU" in findings[3].text.rpartition(" for ")[2]


def test_a_file_that_is_not_the_pinned_model_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIQA_DETECTOR", "yunet_2023mar")
    file = tmp_path / "models" / REGISTRY["yunet_2023mar"].file
    file.parent.mkdir()
    file.write_bytes(b"something else")
    text = the_wrong(found("models"))
    assert f"{file}: refused: this is not " in text
    assert "delete it and run `fiqa models pull`" in text


def test_a_model_that_does_not_load_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"not a model")
    monkeypatch.setenv("FIQA_QUALITY_MODEL", str(tmp_path / "mine.onnx"))
    assert "is not an ONNX model that can be used" in the_wrong(found("models"))


def test_a_model_that_computes_something_else_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from fiqa_worker.pipeline import self_test\nself_test._KNOWN['builtin_quality'] = self_test._Known(0.4)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    text = the_wrong(found("models"))
    assert text.startswith("self-test: builtin_quality@")
    assert "install another version of onnxruntime" in text


def test_a_score_that_differs_from_the_published_one_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from fiqa_worker.pipeline import self_test\n"
        "self_test._KNOWN['builtin_quality'] = self_test._Known(0.4, measured_here=False)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "which is published" in one(found("models"), State.WARNING, "self-test")


def test_a_device_that_is_not_here_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_DEVICE", "tensorrt")
    assert "FIQA_DEVICE=tensorrt: " in the_wrong(found("models"))


def test_a_gpu_that_is_not_used_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_GPU", tmp_path)  # tests have no GPU for sure
    assert "install fiqa[gpu] in place of fiqa[cpu]" in one(found("models"), State.WARNING, "device")
    monkeypatch.setenv("FIQA_DEVICE", "cpu")
    one(found("models"), State.OK, "device")


def test_packages_that_overwrite_each_other_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    one(found("packages"), State.OK)
    monkeypatch.setattr(doctor, "_OPENCVS", ("opencv-python-headless", "numpy"))
    first, _ = found("packages")
    assert first.state is State.WARNING
    assert "uninstall all of them, and install one again" in first.text


def test_threads_and_memory_are_those_that_a_worker_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ": a worker starts " in one(found("threads"), State.OK)
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: 100_000_000)
    assert "set a smaller --concurrency" in one(found("threads"), State.WARNING)


def test_a_container_without_semaphores_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("billiard.context.ForkContext.Lock", refuse)  # a read-only /dev/shm would need a container
    assert "--tmpfs /dev/shm" in one(found("threads"), State.WRONG)


def test_allowed_folders_are_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    allowed = f"s3://bucket/,{tmp_path.as_uri()},{tmp_path.as_uri()}/empty,{tmp_path.as_uri()}/gone"
    monkeypatch.setenv("FIQA_ALLOWED_SOURCES", allowed)
    findings = found("source", "sources")
    assert [finding.state for finding in findings] == [State.OK, State.OK, State.WRONG, State.WRONG]


def test_a_source_that_a_worker_here_may_not_read_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIQA_ALLOWED_SOURCES", "s3://images/")
    sources = ["s3://images/2026/", "s3://key:secret-5f1c@other/", str(tmp_path)]
    text = one(found("sources", sources=sources), State.WARNING)
    assert f"and not s3://***@other/, {tmp_path}: add what is missing to FIQA_ALLOWED_SOURCES" in text
    assert "5f1c" not in text


def test_prepared_models_that_cannot_be_stored_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()  # root may write to every folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts = [finding.text for finding in found("models") if finding.state is State.WARNING]
    assert len(texts) == 1
    assert texts[0].startswith(f"prepared models cannot be stored in {tmp_path}/cache/fiqa/models, so each process")


def test_the_folder_of_the_probes_must_be_writable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIQA_HEALTH_DIR", str(tmp_path / "health" / "new"))
    assert one([each for each in found("disk") if each.check == "health"], State.OK).endswith("new can be written")
    assert not (tmp_path / "health").exists()
    (tmp_path / "health").touch()
    assert "set FIQA_HEALTH_DIR" in one([each for each in found("disk") if each.check == "health"], State.WRONG)


def test_the_disk_of_the_models_is_looked_at(tmp_path: Path) -> None:
    assert one(found("disk"), State.OK).endswith(f"in {tmp_path}")


def test_a_wrong_setting_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_DETECT_SIZE", "7")
    with pytest.raises(SettingsError, match="FIQA_DETECT_SIZE"):
        worker_checks([])


def test_it_loads_none_of_the_heavy_packages() -> None:
    code = "import fiqa_worker.doctor, sys; print({'cv2', 'onnxruntime', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
