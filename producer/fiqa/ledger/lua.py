"""Assembles the Lua scripts of this folder: the constants, shared.lua, and the script itself.

Lua reads a key or a number as `fiqa.LEASES` or `fiqa.LEASE_S`, and calls a shared function as `fiqa.key(job, 'done')`.
The text of a script is the same in every process of one version, so Redis compiles it once and knows it by its hash.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Final

from fiqa.contract import REDIS_STORAGE
from fiqa.ledger import keys, limits

# Only what the scripts use, since each call builds the table again. These 17 and the 12 functions of shared.lua fit
# into the 32 slots that Lua allocates at first, and take 2.6 us. With
# five more constants Lua grows the table, and they take 4.8 us.
CONSTANTS: Final[dict[str, str | float]] = {
    "JOB": keys.JOB,
    "JOBS": keys.JOBS,
    "PREPARING": keys.PREPARING,
    "ENDED": keys.ENDED,
    "DUE": keys.DUE,
    "LEASES": keys.LEASES,
    "RECONCILER_LOCK": keys.RECONCILER_LOCK,
    "TICKETS": keys.TICKETS,
    "UNACKED": keys.UNACKED,
    "UNACKED_INDEX": keys.UNACKED_INDEX,
    "REDIS_STORAGE": REDIS_STORAGE,
    "LEASE_S": limits.LEASE_S,
    "LONGEST_LEASE_S": limits.LONGEST_LEASE_S,
    "MAX_TICKETS": limits.MAX_TICKETS,
    "MIN_IMAGES_TO_FAIL": limits.MIN_IMAGES_TO_FAIL,
    "PACE_WINDOW_S": limits.PACE_WINDOW_S,
    "PACE_BUCKET_S": limits.PACE_BUCKET_S,
    "RANK_SPAN": limits.RANK_SPAN,
}


@cache
def script_text(name: str) -> str:
    """Return the whole text of the script `name`.lua, as it is sent to Redis."""
    return f"{_constants()}\n{_read('shared')}\n{_read(name)}"


def _read(name: str) -> str:
    return files("fiqa.ledger").joinpath(f"{name}.lua").read_text("utf-8")


def _constants() -> str:
    """Return one line of Lua that sets the table `fiqa`. A JSON string of ASCII is a Lua string, too."""
    fields = (f"{name} = {json.dumps(value)}" for name, value in CONSTANTS.items())
    return "local fiqa = {" + ", ".join(fields) + "}"
