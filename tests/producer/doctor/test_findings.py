from __future__ import annotations

import threading
from collections.abc import Iterator

from fiqa.doctor.findings import Check, Finding, State, examine
from fiqa.errors import StorageError


def test_findings_come_in_the_order_of_the_checks() -> None:
    first_may_end = threading.Event()

    def first() -> Iterator[Finding]:
        assert first_may_end.wait(60)
        yield Finding("first", State.OK, "a")
        yield Finding("first", State.WARNING, "b")

    def second() -> Iterator[Finding]:
        first_may_end.set()
        yield Finding("second", State.OK, "c")

    checks = [Check("first", first, "", limit_s=60), Check("second", second, "", limit_s=60)]
    assert [finding.text for finding in examine(checks)] == ["a", "b", "c"]


def test_a_check_that_does_not_end_is_wrong_and_the_others_are_shown() -> None:
    never = threading.Event()

    def hang() -> Iterator[Finding]:
        yield Finding("hangs", State.OK, "before")
        never.wait()

    checks = [
        Check("hangs", hang, "mount it again", limit_s=0.1),
        Check("works", lambda: [Finding("works", State.OK, "fine")], "", limit_s=60),
    ]
    assert examine(checks)[-2:] == [
        Finding("hangs", State.WRONG, "no answer within 0.1 s: mount it again"),
        Finding("works", State.OK, "fine"),
    ]
    never.set()


def test_an_error_is_a_finding() -> None:
    def refuse() -> Iterator[Finding]:
        yield Finding("storage", State.OK, "before")
        raise StorageError("cannot write: fix it")

    def fail() -> Iterator[Finding]:
        raise KeyError("a\nb")

    assert examine([Check("storage", refuse, ""), Check("other", fail, "")]) == [
        Finding("storage", State.OK, "before"),
        Finding("storage", State.WRONG, "cannot write: fix it"),
        Finding("other", State.WRONG, "the check failed: KeyError: 'a\\nb': report this"),
    ]
