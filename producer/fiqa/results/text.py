"""Numbers and times as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min, 2 h 05 min."""
    if round(seconds) < 60:  # noqa: PLR2004  a minute
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"  # noqa: PLR2004  an hour
