from __future__ import annotations

import pytest

from fiqa.errors import SettingsError
from fiqa.settings import Settings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIQA_REDIS_URL", "FIQA_STORAGE"):
        monkeypatch.delenv(name, raising=False)


def test_by_default_redis_is_local_and_is_the_storage() -> None:
    assert Settings.load() == Settings(redis_url="redis://localhost:6379/0", storage="redis")


def test_settings_come_from_the_environment_and_arguments_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_REDIS_URL", "rediss://far:6380/1")
    monkeypatch.setenv("FIQA_STORAGE", "s3://bucket/prefix")
    assert Settings.load() == Settings(redis_url="rediss://far:6380/1", storage="s3://bucket/prefix")
    assert Settings.load(storage="/data").storage == "/data"
    assert Settings.load(storage="/data").redis_url == "rediss://far:6380/1"


def test_other_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_DEVICE", "cpu")
    monkeypatch.setenv("REDIS_URL", "redis://other:1/0")
    assert Settings.load().redis_url == "redis://localhost:6379/0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FIQA_REDIS_URL", ""),
        ("FIQA_REDIS_URL", "localhost:6379"),
        ("FIQA_REDIS_URL", "http://:secret@localhost"),
        ("FIQA_STORAGE", ""),
    ],
)
def test_a_wrong_setting_is_an_error_in_one_line_with_its_name_and_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^{name}: [^\n]+$") as caught:
        Settings.load()
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("value", ["foo", "http://:secret@localhost:1", ":secret@redis://localhost"])
def test_a_wrong_redis_url_is_an_error_that_shows_the_format(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FIQA_REDIS_URL", value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert str(caught.value) == (
        "FIQA_REDIS_URL: not a Redis URL: redis://user:password@host:port/database, special characters in user and"
        " password percent-encoded"
    )


@pytest.mark.parametrize("url", ["redis+cluster://:secret@host:7000", "rediscluster://:secret@host:7000"])
def test_a_url_of_a_cluster_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FIQA_REDIS_URL", url)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert str(caught.value) == "FIQA_REDIS_URL: for Redis Cluster, set the redis:// URL of one node"


@pytest.mark.parametrize("url", ["sentinel://a:1,b/0?master=m", "redis+sentinel://a?master=m", "rediss+sentinel://a"])
def test_urls_of_sentinels_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FIQA_REDIS_URL", url)
    assert Settings.load().redis_url == url
