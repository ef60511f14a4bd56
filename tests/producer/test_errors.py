from __future__ import annotations

import inspect
import re

import pytest
from pydantic import BaseModel, ValidationError

from fiqa import errors
from fiqa.errors import FiqaError, first_problem


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^[│├└─ ]*(\w+Error)\b", errors.__doc__, re.MULTILINE)
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert sorted(drawn) == sorted(kind.__name__ for kind in classes)
    assert all(issubclass(kind, FiqaError) for kind in classes)


class _Account(BaseModel):
    ports: list[int]


def test_the_first_problem_has_its_place_and_not_its_value() -> None:
    with pytest.raises(ValidationError) as caught:
        _Account.model_validate({"ports": [1, "secret", "other"]})
    place, text = first_problem(caught.value)
    assert place == "ports.1"
    assert text.startswith("Input should be a valid integer")
    assert "secret" not in text
