"""The ledger behind a client: private for users of fiqa, but tests look at it."""

from __future__ import annotations

from fiqa.client import Client
from fiqa.ledger.ledger import Ledger


def ledger_of(client: Client) -> Ledger:
    """Return the ledger that a client uses, with its connection."""
    return client._ledger  # noqa: SLF001  see above
