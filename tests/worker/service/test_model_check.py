"""The check of the models in a process that ends, with the package's own models."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fiqa.errors import SettingsError
from fiqa_worker.errors import ModelError
from fiqa_worker.service import model_check
from fiqa_worker.service.model_check import checking_models
from tests.conftest import Bucket
from tests.producer.container_credentials import ContainerCredentials, container_credentials
from tests.producer.s3_settings import clear, set_all
from tests.servers import S3Server


@pytest.fixture(autouse=True)
def builtin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_DETECTOR", "builtin_detector")
    monkeypatch.setenv("FIQA_QUALITY_MODEL", "builtin_quality")


def children() -> str:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()


def test_models_that_load_and_pass_the_self_test_are_accepted() -> None:
    with checking_models() as checked:
        pass
    assert (checked.self_test.verdict, checked.self_test.warning) == ("passed", "")
    assert checked.identity.quality_model.startswith("builtin_quality@")
    assert "CPUExecutionProvider" in checked.providers


def test_a_built_in_model_with_other_scores_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from fiqa_worker.pipeline import quality\n"
        "score = quality.QualityScorer.score\n"
        "quality.QualityScorer.score = lambda self, crops: score(self, crops) + 0.002\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    refusal = r"^self-test: builtin_quality@\w+ gives 0\.31182 .*, cpu, onnxruntime \S+; expected 0\.30982: install"
    with pytest.raises(ModelError, match=refusal), checking_models():
        pass


def test_models_that_do_not_load_in_time_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"do not load within 0\.1 s"), checking_models(timeout_s=0.1):
        pass


def test_a_check_whose_worker_has_ended_ends_silently() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", model_check.__name__], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as check:
        assert check.stdout
        assert check.stderr
        check.stdout.close()
        assert (check.stderr.read(), check.wait()) == (b"", 0)


def test_a_wrong_model_is_refused_with_the_message_of_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_DETECTOR", "/nowhere/mine.onnx")
    with pytest.raises(ModelError, match=r"^cannot read /nowhere/mine\.onnx: "), checking_models():
        pass


def test_a_wrong_setting_of_the_pipeline_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_ALLOWED_SOURCES", "http://")
    with pytest.raises(SettingsError, match=r"^FIQA_ALLOWED_SOURCES: "), checking_models():
        pass


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['onnxruntime'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModuleNotFoundError) as refused, checking_models():
        pass
    assert refused.value.name == "onnxruntime"


def test_a_check_that_crashes_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cv2.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelError, match="the models do not load: the check ended with status -9"), checking_models():
        pass
    assert capfd.readouterr().out == ""


class ReadyWhenAwaited(logging.Handler):
    """Provides the credentials as soon as the log says that the worker waits for them."""

    def __init__(self, late: ContainerCredentials, s3: S3Server) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._late = late
        self._s3 = s3

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._late.key = (self._s3.access_key, self._s3.secret_key)


def test_a_mirror_whose_credentials_come_late_is_awaited(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mirror = bucket.uri("models")
    clear(monkeypatch)
    monkeypatch.setenv("FIQA_DETECTOR", "yunet_2023mar")
    monkeypatch.setenv("FIQA_MODELS_DIR", mirror)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    log = logging.getLogger("fiqa_worker.service.model_check")
    with container_credentials() as late:
        set_all(monkeypatch, {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_CONTAINER_CREDENTIALS_FULL_URI": late.url})
        ready = ReadyWhenAwaited(late, s3)
        log.addHandler(ready)
        try:  # the mirror is empty: that is what the check says once it can look
            with pytest.raises(ModelError, match=f"yunet_2023mar is not in {mirror}"), checking_models():
                pass
        finally:
            log.removeHandler(ready)
    (line,) = ready.lines
    assert line.startswith(f"waiting for the models: cannot read {mirror}/face_detection_yunet_2023mar.onnx: S3: ")


def test_an_error_in_the_block_ends_the_check() -> None:
    before = children()

    def fail() -> None:
        with checking_models():
            assert children() != before
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert children() == before
