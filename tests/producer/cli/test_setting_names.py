from __future__ import annotations

import pytest

from fiqa.cli.setting_names import SETTINGS, unknown_settings
from fiqa_worker.settings import WorkerSettings
from tests.producer.cli.running import fiqa


def test_every_setting_is_known() -> None:
    assert {f"FIQA_{name.upper()}" for name in WorkerSettings.model_fields} == set(SETTINGS)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FIQA_REDISURL", "FIQA_REDIS_URL"),
        ("FIQA_DETECTR", "FIQA_DETECTOR"),
        ("FIQA_ALLOWED_SOURCE", "FIQA_ALLOWED_SOURCES"),
        ("fiqa_storge", "FIQA_STORAGE"),
    ],
)
def test_a_misspelled_setting_names_the_one_that_was_meant(name: str, meant: str) -> None:
    assert list(unknown_settings([name, "PATH"])) == [f"{name} is not a setting and is ignored: did you mean {meant}?"]


def test_an_unknown_setting_is_reported_and_the_command_continues() -> None:
    done = fiqa("models", "list", env={"FIQA_GIBBERISH": "1"})
    assert done.returncode == 0
    assert done.stderr == "fiqa: FIQA_GIBBERISH is not a setting and is ignored\n"


@pytest.mark.parametrize(
    "name",
    [
        "FIQA_DEVICE",
        "fiqa_device",
        "FIQA_REDIS_SERVICE_HOST",
        "FIQA_REDIS_SERVICE_PORT_REDIS",
        "FIQA_REDIS_PORT",
        "FIQA_REDIS_PORT_6379_TCP_ADDR",
        "FIQA_TEST_S3",
        "_FIQA_COMPLETE",
        "FIQAX",
    ],
)
def test_settings_and_variables_of_others_are_not_reported(name: str) -> None:
    assert list(unknown_settings([name])) == []
