"""What a worker takes from the queue: fiqa's own tickets. Anything else is dropped, with a line in the log.

Celery itself ends the whole worker over a message that is no JSON or lacks a field, puts the message back as it does
so, and thereby ends every other worker as well.
"""

from __future__ import annotations

import binascii
import json
import logging
from base64 import b64decode, b64encode
from queue import Empty
from typing import Any, Final
from uuid import uuid4

from kombu.transport import virtual
from kombu.transport.redis import Channel, QoS, Transport
from redis import OutOfMemoryError, RedisError

from fiqa.contract import QUEUE, TASK_NAME

_log = logging.getLogger(__name__)

_MAX_BODY_CHARS: Final = 1024
_EMPTY_BODY: Final = b64encode(
    json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
).decode()
_DROPPED: Final = "dropped a message that is no ticket: %s"


def is_ticket(message: object) -> bool:
    """Whether this is a message as fiqa publishes it: the one task, and no arguments."""
    match message:
        case {
            "body": str(body),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": task, **headers},
            "properties": {"body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": queue}},
        }:
            return task == TASK_NAME and queue == QUEUE and "compression" not in headers and _carries_nothing(body)
    return False


def clean_ticket() -> dict[str, Any]:
    """A message of Celery's protocol 2 that is like any other ticket but for its name."""
    name = str(uuid4())
    return {
        "body": _EMPTY_BODY,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": TASK_NAME,
            "id": name,
            "root_id": name,
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
            "correlation_id": name,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_mode": 2,
            "delivery_tag": name,
            "priority": 0,
            "body_encoding": "base64",
        },
    }


def _carries_nothing(body: str) -> bool:
    if len(body) > _MAX_BODY_CHARS:
        return False
    try:
        content = json.loads(b64decode(body))
    except (binascii.Error, ValueError, RecursionError):
        return False
    match content:
        case [[], {**arguments}, {**embedded}]:
            return not arguments and not any(embedded.values())
    return False


class _TicketQoS(QoS):
    def ack(self, delivery_tag: Any) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # half typed
        except Exception:
            # Kombu would count this ticket as held for ever. A worker that holds as many as it may asks for no more: it
            # does not notice that its connection is broken, never connects anew, and stands still.
            virtual.QoS.ack(self, delivery_tag)
            raise

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002  kombu's
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]  # half typed
        except (OSError, RedisError):
            raise
        except Exception as error:  # noqa: BLE001  see _brpop_read
            _log.warning(_DROPPED, type(error).__name__)
            self._remove_from_indices(tag).execute()  # type: ignore[no-untyped-call]  # half typed


class _TicketChannel(Channel):
    QoS = _TicketQoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # half typed
        except (Empty, OSError, RedisError):
            raise
        except Exception as error:  # noqa: BLE001  whatever parsing a stranger's bytes may raise
            _log.warning(_DROPPED, type(error).__name__)
            return True


class TicketTransport(Transport):
    """Kombu's Redis transport, which hands on tickets only."""

    Channel = _TicketChannel

    # A Redis that is full is one to connect to anew: Celery would end the whole worker over it.
    connection_errors = (*Transport.connection_errors, OutOfMemoryError)

    def _deliver(self, message: Any, queue: str) -> None:
        if not is_ticket(message):
            _log.warning(_DROPPED, "something else")
            return
        # Tickets are alike, so nothing of what came is handed on. Each has a name of its own: of two with the same one
        # the second would never be acknowledged.
        super()._deliver(clean_ticket(), queue)  # type: ignore[no-untyped-call]  # half typed
