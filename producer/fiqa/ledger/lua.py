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

CONSTANTS: Final[dict[str, str | float]] = {
    **{name: value for module in (keys, limits) for name, value in vars(module).items() if name.isupper()},
    "REDIS_STORAGE": REDIS_STORAGE,
}


@cache
def script_text(name: str) -> str:
    """Return the whole text of the script `name`.lua, as it is sent to Redis."""
    return f"{_constants()}\n{_read('shared')}\n{_read(name)}"


@cache
def _read(name: str) -> str:
    return files("fiqa.ledger").joinpath(f"{name}.lua").read_text("utf-8")


def _constants() -> str:
    """Return one line of Lua that sets the table `fiqa`. A JSON string of ASCII is a Lua string, too."""
    return f"local fiqa = {{{', '.join(f'{name} = {json.dumps(value)}' for name, value in CONSTANTS.items())}}}"
