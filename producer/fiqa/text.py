"""Numbers, times and text as people read them."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

# In a URI: a user with or without a password before an @. A secret key of S3 may hold a slash. If the URI was taken for
# a path, it has one slash less.
_CREDENTIALS: Final = re.compile(r"(?<=\w:/)(/?)(?:[^\s/@]*@|[^\s/:@]*:[^\s@]*@)")
_MASKED: Final = r"\1***@"


def duration(seconds: float) -> str:
    """Return seconds in the unit that fits: 42 s, 3 min, 2 h 05 min."""
    if round(seconds) < 60:  # noqa: PLR2004  a minute
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"  # noqa: PLR2004  an hour


def local_time(seconds: float) -> str:
    """Return Unix seconds as a local date and time, with the UTC offset: 2026-01-31 17:05:00 +0100.

    The id of a job has the time in UTC. Next to it, a local time without the offset would look wrong.
    """
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def readable_uri(uri: str) -> str:
    """Return a file:// URI with its percent signs decoded, if that is the only way to read it. Not for programs."""
    if not uri.startswith("file:///"):
        return uri  # the key of an s3:// URI is written as it is
    path = unquote(uri.removeprefix("file://"))
    return f"file://{path}" if path.isprintable() and Path(path).as_uri() == uri and "%" not in path else uri


def number(value: float) -> str:
    """Return a whole number with thousands separators; from a billion on, three digits and an exponent."""
    return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"  # noqa: PLR2004


def count(number: int, one: str, many: str = "") -> str:
    """Return a number of things: 1 image, 2 images.

    Args:
        number: how many.
        one: the words for one thing, such as "shard is lost".
        many: the words for any other number. Empty: `one` with an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def quality(value: float) -> str:
    """Return three decimals; four digits if the value is too small or too large for that, such as 0.00012."""
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.4g}"  # noqa: PLR2004


def digits(value: float) -> str:
    """Return three digits, or all digits of a whole number over 1,000."""
    return f"{value:.3g}" if abs(value) < 1000 else number(value)  # noqa: PLR2004


def per_cent(part: int, whole: int) -> str:
    """Return a share in per cent. Only a share of zero is shown as 0 %, and only a full share as 100 %."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:  # noqa: PLR2004
        return "under 0.1 %"
    if 99.9 < share < 100:  # noqa: PLR2004
        return "over 99.9 %"
    return f"{share:.3g} %"


def has_credentials(uri: str) -> bool:
    """Return whether a user, with or without a password, is a part of a URI."""
    return _CREDENTIALS.search(uri) is not None


def without_secrets(uri: str) -> str:
    """Return a URI without its query, which may be a signature, and with *** instead of its user and password."""
    return _CREDENTIALS.sub(_MASKED, uri.partition("?")[0])


def shown(text: str, *, most: int | None = None) -> str:
    r"""Return text as a terminal or a log may show it.

    Every character that is invisible or changes the direction of text is escaped, such as \n and \u202e. Instead of the
    user and the password of a URI there is ***.

    Args:
        text: from any source, so it may be hostile.
        most: cut the text after this many characters; None: never.
    """
    text = _CREDENTIALS.sub(_MASKED, text)
    cut = text if most is None or len(text) <= most else text[:most] + "..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
