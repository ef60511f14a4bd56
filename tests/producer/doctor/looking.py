"""Short forms of findings, for the tests of checks."""

from __future__ import annotations

from collections.abc import Iterable

from fiqa.doctor.findings import Finding, State


def states(findings: Iterable[Finding]) -> dict[str, State]:
    """Return the state of each check. Every check must have one finding."""
    found = [(finding.check, finding.state) for finding in findings]
    assert len(dict(found)) == len(found)
    return dict(found)


def one(findings: Iterable[Finding], state: State, check: str | None = None) -> str:
    """Return the text of the one finding, or of the one finding of a check, which must have this state."""
    (finding,) = [each for each in findings if check in {None, each.check}]
    assert finding.state is state, finding
    return finding.text
