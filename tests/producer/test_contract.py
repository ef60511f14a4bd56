from __future__ import annotations

import json
from typing import Any

import pytest

from fiqa.contract import (
    MAX_ID_CHARS,
    MAX_URI_CHARS,
    RETRYABLE,
    ErrorCode,
    Face,
    ImageError,
    ImageResult,
    ImageSize,
    Item,
    JobOptions,
    JobSpec,
    Priority,
    Reason,
    Status,
)
from fiqa.errors import ContractError

# A result of version 1 as the documentation shows it. Later versions of fiqa must still read it.
LINE = """
{"v": 1, "uri": "s3://photos/a.jpg", "id": null, "status": "scored",
 "image": {"width": 4000, "height": 3000},
 "faces": [{"box": [1, 2, 30.5, 40], "confidence": 0.93,
            "landmarks": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]], "quality": 0.71}],
 "error": null, "detector": "yunet_2023mar", "quality_model": "ediffiqa_tiny_jun2024", "ms": 12.3}
"""

SCORED = ImageResult(
    uri="s3://photos/a.jpg",
    status=Status.SCORED,
    image=ImageSize(width=4000, height=3000),
    faces=(
        Face(box=(1, 2, 30.5, 40), confidence=0.93, landmarks=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10)), quality=0.71),
    ),
    detector="yunet_2023mar",
    quality_model="ediffiqa_tiny_jun2024",
    ms=12.3,
)


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(LINE) | fields)


def test_a_result_is_read_and_written_as_in_version_1() -> None:
    assert ImageResult.decode(LINE) == SCORED
    assert json.loads(SCORED.encode()) == json.loads(LINE)


def test_a_value_is_one_line_whatever_it_holds() -> None:
    item = Item(uri="s3://b/naïve\n\u2028\x85 日本.jpg", id='say "hi"\r\n')
    encoded = item.encode()
    assert encoded.splitlines() == [encoded]
    assert Item.decode(encoded) == item


def test_an_item_needs_only_a_uri() -> None:
    assert Item.decode(b'{"uri": "s3://b/k"}') == Item(uri="s3://b/k", id=None)


def test_fields_of_a_newer_writer_are_ignored() -> None:
    assert ImageResult.decode(changed(blur=0.3)) == SCORED


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        pytest.param(Item, b"", id="empty"),
        pytest.param(Item, b"s3://b/k", id="not JSON"),
        pytest.param(Item, b'{"uri": "s3://b/k"', id="cut off"),
        pytest.param(Item, b'{"uri": "\xff"}', id="not UTF-8"),
        pytest.param(Item, b"[1]", id="not an object"),
        pytest.param(Item, b"{}", id="no uri"),
        pytest.param(Item, b'{"uri": ""}', id="empty uri"),
        pytest.param(Item, b'{"uri": 7}', id="uri is a number"),
        pytest.param(Item, b'{"uri": "%s"}' % (b"x" * (MAX_URI_CHARS + 1)), id="uri too long"),
        pytest.param(Item, b'{"uri": "a", "id": "%s"}' % (b"x" * (MAX_ID_CHARS + 1)), id="id too long"),
        pytest.param(ImageResult, changed(v=2), id="another version"),
        pytest.param(ImageResult, changed(status="fine"), id="unknown status"),
        pytest.param(ImageResult, changed(status="no_face"), id="no_face with faces"),
        pytest.param(ImageResult, changed(faces=[]), id="scored without faces"),
        pytest.param(ImageResult, changed(status="failed", faces=[]), id="failed without an error"),
        pytest.param(ImageResult, changed(error={"code": "not_found", "message": ""}), id="scored with an error"),
        pytest.param(ImageResult, changed(ms=-1), id="negative time"),
        pytest.param(ImageResult, changed(ms=float("nan")), id="time is not a number"),
        pytest.param(ImageResult, LINE.replace("0.71", "Infinity"), id="infinite quality"),
        pytest.param(ImageResult, LINE.replace("[9, 10]", "[9]"), id="half a landmark"),
    ],
)
def test_a_line_that_does_not_follow_version_1_is_an_error_in_one_line(
    kind: type[Item | ImageResult], line: bytes | str
) -> None:
    with pytest.raises(ContractError, match=rf"^not a valid {kind.__name__}: [^\n]+$") as caught:
        kind.decode(line)
    assert len(str(caught.value)) < 200


def test_the_error_names_the_field() -> None:
    with pytest.raises(ContractError, match=r"faces\.0\.landmarks\.4\.1"):
        ImageResult.decode(LINE.replace("[9, 10]", "[9]"))


def test_values_are_immutable_and_hashable() -> None:
    item = Item(uri="s3://b/k")
    with pytest.raises(ValueError, match="frozen"):
        item.uri = "s3://b/other"
    assert {item, Item(uri="s3://b/k")} == {item}


def test_only_errors_that_may_be_temporary_are_retryable() -> None:
    assert {str(code) for code in RETRYABLE} == {"fetch_failed", "fetch_timeout", "internal_error"}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_is_written_as_its_name(code: ErrorCode) -> None:
    error = ImageError(code=code, message="why")
    result = ImageResult(uri="s3://b/k", status=Status.FAILED, error=error, detector="d", quality_model="q")
    assert json.loads(result.encode())["error"] == {"code": code.name.lower(), "message": "why"}
    assert ImageResult.decode(result.encode()) == result


def test_names_of_a_newer_version_are_kept_as_they_are() -> None:
    error = '"error":{"code":"melted","message":"why"}'
    line = f'{{"uri":"s3://a/b","status":"failed",{error},"detector":"d","quality_model":"q"}}'
    result = ImageResult.decode(line)
    assert result.error
    assert (result.error.code, ImageResult.decode(result.encode())) == ("melted", result)
    assert result.error.code not in set(ErrorCode)
    assert JobSpec.decode('{"id":"x","created":1,"priority":"urgent"}').priority == "urgent"


def test_options_of_a_newer_version_are_kept_and_named() -> None:
    spec = JobSpec.decode('{"id":"x","created":1,"options":{"measures":true,"smile":0.5}}')
    assert (spec.options.measures, spec.options.max_faces, spec.options.unknown) == (True, None, ("smile",))
    assert spec.options.asked == {"measures": True, "smile": 0.5}
    assert JobSpec.decode(spec.encode()) == spec
    assert JobOptions().asked == {}
    for damaged in ("", "[]", '{"measures": "maybe"}', '{"max_faces": 0}'):
        assert JobOptions.read(damaged).unknown == ("options",)


def test_what_a_job_did_not_ask_for_is_not_in_its_results() -> None:
    face = json.loads(LINE)["faces"][0]
    measured = face | {
        "measures": {"HeadPoseYaw": -2.5, "HeadPoseYaw.scalar": 100, "smile": None},
        "reasons": ["blurred", "bored"],
    }
    more = {"faces_left_out": 2, "not_applied": ["smile"], "faces": [measured]}
    result = ImageResult.decode(changed(**more))
    assert json.loads(result.encode()) == json.loads(changed(**more))
    assert result.faces[0].reasons == (Reason.BLURRED, "bored")
    plain = json.loads(SCORED.encode())
    assert not {"faces_left_out", "not_applied"} & {*plain}
    assert not {"measures", "reasons"} & {*plain["faces"][0]}


@pytest.mark.parametrize("name", ["", "Urgent", "two words", "a\u202eb", "x" * 65, 5, None])
def test_what_is_not_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        Priority(name)
