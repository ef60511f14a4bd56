"""Reports FIQA_* variables that are not settings. Otherwise a misspelled setting would be ignored silently."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Final

# Every setting of clients and workers. They are listed here, so that help imports no class of settings.
SETTINGS: Final = tuple(
    f"FIQA_{name}"
    for name in (
        *("REDIS_URL", "STORAGE", "S3_REQUESTER_PAYS", "S3_ANONYMOUS", "MODELS_DIR", "DETECTOR", "QUALITY_MODEL"),
        *("DEVICE", "DETECT_SIZE", "DECODE", "DETECT_THRESHOLD", "MAX_IMAGE_BYTES", "MAX_IMAGE_PIXELS"),
        *("IMAGE_TIME_LIMIT_S", "ALLOWED_SOURCES", "ALLOWED_STORAGES", "DRAIN_S", "MAX_CHILD_MB", "HEALTH_DIR"),
        *("LOG_FORMAT", "NAMESPACE", "SECOND_LOOK", "METRICS_PORT"),
    )
)
# Variables that Kubernetes sets in every container for a service such as `fiqa-redis`, and variables of this project's
# tests.
_OF_OTHERS: Final = re.compile(
    r"FIQA_(.*SERVICE_(HOST|PORT.*)|(.*_)?PORT(_\d+_(TCP|UDP).*)?|(TEST|BENCH)_.*|S3_DIR|COMPLETE)"
)


def unknown_settings(names: Iterable[str]) -> Iterator[str]:
    """Yield one line for each environment variable that looks like a setting, but is not one.

    Args:
        names: the names of all environment variables.
    """
    for name in sorted(names):
        # Settings may also be written in lower case.
        upper = name.upper()
        if not upper.startswith("FIQA_") or upper in SETTINGS or _OF_OTHERS.fullmatch(upper):
            continue
        close = difflib.get_close_matches(upper, SETTINGS, 1, cutoff=0.75)
        yield f"{name} is not a setting and is ignored" + (f": did you mean {close[0]}?" if close else "")
