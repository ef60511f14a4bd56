"""Tickets: the messages that clients and workers publish, and that Celery delivers to a worker's processes.

A ticket names no job and holds no URI. It means "one chunk of any due job". All tickets are alike, so a lost,
duplicate or late ticket changes no count.

fiqa publishes them over the ledger's connection, without Celery or kombu. So a client needs neither of them, and a
process needs no second connection.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final
from uuid import uuid4

from fiqa.contract import TASK_NAME
from fiqa.ledger.ledger import Ledger

_EMPTY_BODY: Final = b64encode(
    json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
).decode()
# The number of tickets in one command. A ticket has 700 bytes.
_BATCH: Final = 500


def new_ticket(queue: str) -> dict[str, Any]:
    """Return a ticket: a message of Celery's protocol 2, in kombu's envelope. Tickets differ only in their ids."""
    ticket_id = str(uuid4())
    return {
        "body": _EMPTY_BODY,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": TASK_NAME,
            "id": ticket_id,
            "root_id": ticket_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "argsrepr": "()",
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": ticket_id,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_mode": 2,
            "delivery_tag": ticket_id,
            "priority": 0,
            "body_encoding": "base64",
        },
    }


def publish_tickets(ledger: Ledger) -> int:
    """Publish the tickets that the queue lacks, and return their number.

    Raises:
        RedisUnavailableError: Redis does not answer, or refuses.
    """
    missing = ledger.missing_tickets()
    # All of them have the same text. When a worker takes a ticket, it puts a new id into it.
    ticket = json.dumps(new_ticket(ledger.connection.keys.tickets)) if missing else ""
    for first in range(0, missing, _BATCH):
        ledger.add_tickets([ticket] * min(_BATCH, missing - first))
    return missing
