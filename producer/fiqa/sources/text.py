"""Splits bytes into lines: UTF-8, UTF-16 or UTF-32; ends of Unix, Windows and old Macs."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import IO, Final

MAX_LINE_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 64 * 1024
_BOMS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16: its mark begins with that of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LONGEST_BOM: Final = 4
# The first four bytes without a mark: a list begins with an ASCII character, and no line of it holds a NUL byte.
_WITHOUT_BOM: Final = (
    (re.compile(rb"[^\0]\0\0\0"), "utf-32-le"),
    (re.compile(rb"\0\0\0[^\0]"), "utf-32-be"),
    (re.compile(rb"[^\0]\0[^\0]\0"), "utf-16-le"),
    (re.compile(rb"\0[^\0]\0[^\0]"), "utf-16-be"),
)
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


def split_lines(file: IO[bytes]) -> Iterator[bytes | None]:
    r"""Yield the lines of a file in UTF-8, without their ends; None for a line that is too long.

    A line is yielded as soon as its end has arrived, so a pipe can be followed. The first line end decides whether \r
    ends lines. In a list with Unix ends, \r is a part of a name.

    Raises:
        UnicodeError: the file begins as one in another encoding, but is not in that encoding.
    """
    rest, is_long, has_cr = b"", False, None
    for chunk in _utf8(file):
        data = rest + chunk
        if has_cr is None:
            has_cr = _ends_with_cr(data)
        if has_cr:
            held = data.endswith(b"\r")  # a \n may follow
            *lines, rest = _LINE_END.split(data.removesuffix(b"\r"))
            rest += b"\r" if held else b""
        else:
            *lines, rest = data.split(b"\n")
        for line in lines:
            yield None if is_long or len(line) > MAX_LINE_BYTES else line.removesuffix(b"\r")
            is_long = False
        if len(rest) > MAX_LINE_BYTES:
            is_long, rest = True, b"\r" if rest.endswith(b"\r") else b""
    rest = rest.removesuffix(b"\r")
    if rest or is_long:
        yield None if is_long else rest


def _ends_with_cr(data: bytes) -> bool | None:
    r"""Return whether the first line ends with \r alone; None if it has not ended yet."""
    found = _LINE_END.search(data)
    if not found or (found[0] == b"\r" and found.end() == len(data)):
        return None
    return found[0] == b"\r"


def _utf8(file: IO[bytes]) -> Iterator[bytes]:
    # read1 returns what is there. read would wait until a pipe has filled the buffer.
    read = getattr(file, "read1", file.read)
    first = b""
    while len(first) < _LONGEST_BOM and (more := read(_READ_BYTES)):
        first += more
    encoding = next((encoding for bom, encoding in _BOMS.items() if first.startswith(bom)), None) or next(
        (encoding for begin, encoding in _WITHOUT_BOM if begin.match(first)), None
    )
    decoder = codecs.getincrementaldecoder(encoding)() if encoding else None
    chunk = first
    while chunk:
        yield decoder.decode(chunk).encode() if decoder else chunk
        chunk = read(_READ_BYTES)
    if decoder:
        decoder.decode(b"", final=True)
