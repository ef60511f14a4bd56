"""Counts the measures and the reasons of faces for a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from fiqa.contract import Face, Reason
from fiqa.measures import MEASURES, OFIQ_MEASURES, OWN_MEASURES, SCALAR
from fiqa.results.distribution import Distribution

SHARES: Final = {"5 %": 0.05, "median": 0.5, "95 %": 0.95}


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One measure of all faces: the quantiles of SHARES of its native value, and the median of its scalar, if any."""

    name: str
    quantiles: tuple[float, ...]
    scalar: float | None
    faces: int


@dataclass(slots=True)
class Measured:
    """The faces that have measures.

    Attributes:
        faces: their number.
        reasons: how many of them have each reason. A face may have several.
        values: by the name of the measure, or of its scalar.
    """

    faces: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    values: dict[str, Distribution] = field(default_factory=dict)

    def add(self, face: Face) -> None:
        """Count a face. Names that this version does not know are left out: a forged file may hold any number."""
        if face.measures is None:
            return
        self.faces += 1
        self.reasons.update(reason for reason in set(face.reasons or ()) if reason in _REASONS)
        for name in MEASURES:
            value = face.measures.get(name)
            if value is not None:
                self.values.setdefault(name, Distribution()).add(value)

    @property
    def rows(self) -> Iterator[MeasureRow]:
        """Each measure that a face has."""
        for name in (*OWN_MEASURES, *OFIQ_MEASURES):
            if name in self.values:
                scalars = self.values.get(name + SCALAR)
                yield MeasureRow(
                    name,
                    tuple(self.values[name].quantiles(*SHARES.values())),
                    scalars.quantiles(0.5)[0] if scalars else None,
                    self.values[name].total,
                )


_REASONS: Final = frozenset(Reason)
