from __future__ import annotations

import inspect
import re

from fiqa.contract import RETRYABLE, ErrorCode
from fiqa.errors import FiqaError
from fiqa_worker import errors
from fiqa_worker.errors import ImageFailure, SourceUnavailable

# The worker records these. It does not raise them.
WITHOUT_A_CLASS = {
    ErrorCode.TIME_LIMIT,
    ErrorCode.WORKER_CRASHED,
    ErrorCode.MANIFEST_LOST,
    ErrorCode.INTERNAL_ERROR,
}


def test_each_code_that_the_worker_raises_has_one_class() -> None:
    codes = [kind.code for kind in ImageFailure.__subclasses__()]
    assert len(codes) == len(set(codes))
    assert set(codes) | WITHOUT_A_CLASS == set(ErrorCode)
    assert not set(codes) & WITHOUT_A_CLASS


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    assert errors.__doc__ is not None
    drawn = dict(re.findall(r"^[│ ]*[├└]── (\w+) +(.*?)$", errors.__doc__, re.MULTILINE))
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert set(drawn) == {kind.__name__ for kind in classes}
    assert all(issubclass(kind, FiqaError) for kind in classes)
    for kind in ImageFailure.__subclasses__():
        assert drawn[kind.__name__].split() == [kind.code, *(["retryable"] if kind.code in RETRYABLE else [])]


def test_a_source_that_is_unavailable_is_named_with_its_reason() -> None:
    error = SourceUnavailable("s3://photos", "no credentials: set them")
    assert str(error) == "cannot read s3://photos: no credentials: set them"
    assert (error.root, error.reason) == ("s3://photos", "no credentials: set them")
