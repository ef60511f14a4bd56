from __future__ import annotations

from fiqa.contract import ErrorCode
from fiqa.results.advice import ADVICE


def test_every_error_code_has_its_advice() -> None:
    assert set(ADVICE) == set(ErrorCode)


def test_advice_is_one_sentence_in_the_order_of_the_codes() -> None:
    assert list(ADVICE) == list(ErrorCode)
    assert all(text[0].isupper() and text.endswith(".") and "\n" not in text for text in ADVICE.values())
