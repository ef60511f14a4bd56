"""Assembles the Lua scripts of this folder: the constants, shared.lua, and the script itself.

Lua reads a key or a number as `fiqa.LEASES` or `fiqa.LEASE_S`, and calls a shared function as `fiqa.key(job, 'done')`.
All processes of one version send the same text of a script. So Redis compiles it once, and knows it by its hash.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

from fiqa.contract import DEFAULT_NAMESPACE, REDIS_STORAGE
from fiqa.ledger import limits
from fiqa.ledger.keys import Keys


@cache
def script_text(name: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """Return the whole text of the script `name`.lua for the keys of a namespace, as it is sent to Redis."""
    body = f"{_read('shared')}\n{_read(name)}"
    return f"{_table(body, namespace)}\n{body}"


def constants(namespace: str) -> dict[str, str | float]:
    """Return what Lua reads as `fiqa.NAME`: the keys of a namespace, and the numbers of limits.py."""
    keys = Keys(namespace)
    return {
        "JOB": keys.job_prefix,
        "JOBS": keys.jobs,
        "PREPARING": keys.preparing,
        "EXPIRING": keys.expiring,
        "UNCLAIMED": keys.unclaimed,
        "ENDED": keys.ended,
        "DUE": keys.due,
        "LEASES": keys.leases,
        "RECONCILER_LOCK": keys.reconciler_lock,
        "TICKETS": keys.tickets,
        "UNACKED": keys.unacked,
        "UNACKED_INDEX": keys.unacked_index,
        "REDIS_STORAGE": REDIS_STORAGE,
        "LEASE_S": limits.LEASE_S,
        "LONGEST_LEASE_S": limits.LONGEST_LEASE_S,
        "MAX_TICKETS": limits.MAX_TICKETS,
        "SUMMARY_GRACE_S": limits.SUMMARY_GRACE_S,
        "SUMMARY_TRIES": limits.SUMMARY_TRIES,
        "SUMMARY_LONGEST_WAIT_S": limits.SUMMARY_LONGEST_WAIT_S,
        "MIN_IMAGES_TO_FAIL": limits.MIN_IMAGES_TO_FAIL,
        "PACE_WINDOW_S": limits.PACE_WINDOW_S,
        "PACE_BUCKET_S": limits.PACE_BUCKET_S,
        "RANK_SPAN": limits.RANK_SPAN,
    }


def _read(name: str) -> str:
    return files("fiqa.ledger").joinpath(f"{name}.lua").read_text("utf-8")


def _table(body: str, namespace: str) -> str:
    """Return one line of Lua that sets the table `fiqa`. A JSON string of ASCII is a Lua string, too."""
    # A script gets only the constants that it or shared.lua uses, since each call builds the table again. Up to 32
    # constants and functions fit into the slots that Lua allocates at first, and take 2.6 us. With five more Lua grows
    # the table, which takes 4.8 us.
    used = set(re.findall(r"\bfiqa\.([A-Z_]+)\b", body))
    fields = (f"{name} = {json.dumps(value)}" for name, value in constants(namespace).items() if name in used)
    return "local fiqa = {" + ", ".join(fields) + "}"
