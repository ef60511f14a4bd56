from __future__ import annotations

import numpy as np
import pytest

from fiqa.contract import ErrorCode, Item, Status
from fiqa_worker.errors import NotFound
from fiqa_worker.pipeline.decode import DecodedImage
from fiqa_worker.pipeline.in_progress import InProgress

SIGNED = Item(uri="s3://b/a.jpg?X-Amz-Signature=secret", id="mine", version="v1")
PIXELS = np.zeros((48, 64, 3), np.uint8)


def test_an_image_without_a_face_has_its_size_and_what_the_caller_gave() -> None:
    image = InProgress(0, SIGNED, decoded=DecodedImage(PIXELS, 256, 192, 4), ms=1.23456)
    result = image.result("d", "q")
    assert (result.uri, result.id, result.version) == (SIGNED.uri, "mine", "v1")
    assert (result.status, result.faces, result.error) == (Status.NO_FACE, (), None)
    assert result.image is not None
    assert (result.image.width, result.image.height) == (256, 192)
    assert (result.detector, result.quality_model) == ("d", "q")


def test_a_failure_has_its_code_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    image = InProgress(0, SIGNED)
    image.fail(NotFound("no such object"))
    result = image.result("d", "q")
    assert result.status is Status.FAILED
    assert result.error is not None
    assert (result.error.code, result.error.message) == (ErrorCode.NOT_FOUND, "no such object")
    assert caplog.records == []


def test_another_error_is_internal_and_logged_with_its_traceback_and_without_the_signature(
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = InProgress(0, SIGNED)
    image.fail(ZeroDivisionError("planted"))
    assert image.failure is not None
    assert (image.failure.code, image.failure.message) == (ErrorCode.INTERNAL_ERROR, "ZeroDivisionError: planted")
    (record,) = caplog.records
    assert record.message == "s3://b/a.jpg: internal error"
    assert record.exc_info


def test_warnings_of_the_decoder_are_logged_with_the_name_of_the_image(caplog: pytest.LogCaptureFixture) -> None:
    InProgress(0, SIGNED).log_warnings()
    InProgress(0, SIGNED, decoded=DecodedImage(PIXELS, 64, 48, 1, ("odd bytes",))).log_warnings()
    assert caplog.messages == ["s3://b/a.jpg: odd bytes"]


def test_the_bytes_that_an_image_holds_are_those_of_its_file_and_its_pixels() -> None:
    image = InProgress(0, SIGNED, data=bytes(100))
    assert image.bytes_held == 100
    image.decoded = DecodedImage(PIXELS, 64, 48, 1)
    assert image.bytes_held == 100 + PIXELS.nbytes
