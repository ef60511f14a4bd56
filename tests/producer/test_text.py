from __future__ import annotations

import time

import pytest

from fiqa.text import count, duration, local_time, per_cent, quality, readable_uri, shown


def test_numbers_are_written_for_people() -> None:
    assert [per_cent(*pair) for pair in ((0, 9), (1, 10_000), (1, 3), (9_999, 10_000), (9, 9), (0, 0))] == [
        *("0 %", "under 0.1 %", "33.3 %", "over 99.9 %", "100 %", "0 %")
    ]
    assert [quality(value) for value in (0.0, 0.71234, -0.5, 0.00012, 54321.0)] == [
        *("0.000", "0.712", "-0.500", "0.00012", "5.432e+04")
    ]


@pytest.mark.parametrize(
    ("uri", "readable"),
    [
        ("file:///a/Z%C3%BCrich%20%E6%97%A5.jpg", "file:///a/Z\u00fcrich \u65e5.jpg"),
        ("file:///a/b.jpg", "file:///a/b.jpg"),
        ("file:///a/100%25.jpg", "file:///a/100%25.jpg"),  # decoded, it could be taken for an encoded one
        ("file:///a/%ff.jpg", "file:///a/%ff.jpg"),  # not UTF-8
        ("file:///a/%0a.jpg", "file:///a/%0a.jpg"),
        ("file:///a/%E2%80%AE.jpg", "file:///a/%E2%80%AE.jpg"),  # changes the direction of text
        ("file:///a//b%20c.jpg", "file:///a//b%20c.jpg"),
        ("s3://bucket/%C3%BC.jpg", "s3://bucket/%C3%BC.jpg"),  # the key itself
    ],
)
def test_a_uri_is_decoded_for_people_if_there_is_one_way_to_read_it(uri: str, readable: str) -> None:
    assert readable_uri(uri) == readable


def test_one_thing_is_not_plural() -> None:
    assert [count(number, "image") for number in (0, 1, 2_000)] == ["0 images", "1 image", "2,000 images"]
    assert [count(number, "shard is", "shards are") for number in (1, 2)] == ["1 shard is", "2 shards are"]


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("a\x1b[31m\u202eb\n", r"a\x1b[31m\u202eb\n"),
        ("no s3://KEY:SECRET@b/x/ there", "no s3://***@b/x/ there"),
        ("s3://KEY:SEC/RET+@b/x", "s3://***@b/x"),
        ("s3:/KEY:SECRET@b/x", "s3:/***@b/x"),
        ("file:///a@b/c:d@e", "file:///a@b/c:d@e"),
        ("redis://:SECRET@host:6379/0 and https://u@h/", "redis://***@host:6379/0 and https://***@h/"),
        ("s3://b/a:b@c.jpg, mail@host", "s3://b/a:b@c.jpg, mail@host"),
    ],
)
def test_text_is_shown_without_credentials_and_without_what_changes_a_terminal(text: str, harmless: str) -> None:
    assert shown(text) == harmless


def test_a_local_time_has_its_utc_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    assert local_time(1_769_875_500) == "2026-01-31 17:05:00 +0100"
    monkeypatch.delenv("TZ")
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (100, "2 min"),
        (3569, "59 min"),
        (3599, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_durations_are_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text
