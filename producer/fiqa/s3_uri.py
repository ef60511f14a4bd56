"""URIs of S3 in the form of other tools, and how to write them for fiqa."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

_OTHER_SCHEME: Final = re.compile(r"s3[an]?://(.+)", re.IGNORECASE | re.DOTALL)
_BUCKET_ARN: Final = re.compile(r"(?:s3://)?arn:aws[a-z-]*:s3:::([^/]+)(/.*)?", re.DOTALL)
_OTHER_ARN: Final = re.compile(r"(?:s3://)?arn:", re.IGNORECASE)
# Of Amazon: https://s3.REGION.amazonaws.com/bucket/key, https://bucket.s3.REGION.amazonaws.com/key, and older forms.
_URL: Final = re.compile(
    r"https?://(?:([^/?#]+)\.)?s3(?:-fips|-accelerate)?(?:[.-]dualstack)?(?:[.-][a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?(?:/([^?#]*))?",
    re.IGNORECASE,
)


def advice_for(uri: str) -> str:
    """Return what to write for a URI of S3 that is not of the form s3://bucket/key. Empty for any other URI."""
    if found := _BUCKET_ARN.match(uri):
        return f"write s3://{found[1]}{found[2] or '/'}"
    if _OTHER_ARN.match(uri):
        return "write the alias of the access point for its ARN: s3://NAME-s3alias/key"
    if found := _URL.match(uri):
        path = unquote(found[2] or "")
        return f"write s3://{found[1]}/{path}" if found[1] else f"write s3://{path or 'bucket/key'}"
    found = _OTHER_SCHEME.match(uri)
    return f"write s3://{found[1]}" if found and not uri.startswith("s3://") else ""
