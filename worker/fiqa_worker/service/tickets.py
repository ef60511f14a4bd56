"""A transport that takes only fiqa's tickets from the queue. Every other message is dropped, with a line in the log.

Without this transport, a message that is not JSON or lacks a field ends the whole Celery worker. The worker puts the
message back into the queue as it ends, so the message then ends every other worker as well.

The transport overrides private methods of kombu. Each of them is checked when this module is imported.
"""

from __future__ import annotations

import binascii
import inspect
import json
import logging
from base64 import b64decode
from queue import Empty
from typing import Any, Final

import kombu
from kombu.transport import virtual
from kombu.transport.redis import Channel, QoS, Transport
from redis import RedisError

from fiqa.broker import new_ticket
from fiqa.contract import TASK_NAME
from fiqa.errors import MissingDependencyError

_log = logging.getLogger(__name__)

_MAX_BODY_CHARS: Final = 1024
_DROPPED: Final = "message dropped, not a ticket: %s"

# The methods that are overridden or called below, with their parameters.
_KOMBU_METHODS: Final = (
    (Transport, "_deliver", ("self", "message", "queue")),
    (Channel, "_brpop_read", ("self", "options")),
    (Channel, "_connparams", ("self", "asynchronous")),
    (QoS, "ack", ("self", "delivery_tag")),
    (QoS, "restore_by_tag", ("self", "tag", "client", "leftmost")),
    (QoS, "_remove_from_indices", ("self", "delivery_tag", "pipe")),
    (virtual.QoS, "ack", ("self", "delivery_tag")),
)


def check_kombu() -> None:
    """Check that kombu has every method that is overridden or called here, with the parameters of kombu 5.7.

    Raises:
        MissingDependencyError: a method is missing or differs. Messages that are not tickets could then end workers.
    """
    for owner, name, parameters in _KOMBU_METHODS:
        method = getattr(owner, name, None)
        found = () if method is None else tuple(inspect.signature(method).parameters)
        if found != parameters:
            raise MissingDependencyError(
                f"kombu {kombu.__version__} does not fit this worker, since {owner.__name__}.{name} differs:"
                " pip install 'kombu>=5.7,<5.8'"
            )


check_kombu()


def is_ticket(message: object, queue: str) -> bool:
    """Return whether a message of this queue is one that fiqa publishes: its one task, without arguments."""
    match message:
        case {
            "body": str(body),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": task, **headers},
            "properties": {"body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": key}},
        }:
            return task == TASK_NAME and key == queue and "compression" not in headers and _has_no_arguments(body)
    return False


def _has_no_arguments(body: str) -> bool:
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
            # Without this, kombu would count the ticket as held for ever. A worker that holds its maximum of tickets
            # does not ask for more. So it would not notice that its connection is broken, and never reconnect.
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

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002  kombu's
        """Connect with the same options as the ledger.

        Kombu itself ignores some options of the URL, and raises errors for others.
        """
        ours = self.connection.client.transport_options["fiqa_connection"]
        self.connection_class = ours.get("connection_class", self.connection_class)
        theirs = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]  # half typed
        # Keep the class that kombu uses: it reports to kombu's event loop that a connection is closed.
        return {"db": 0, **ours, "connection_class": theirs["connection_class"]}

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # half typed
        except (Empty, OSError, RedisError):
            raise
        except Exception as error:  # noqa: BLE001  parsing unknown bytes may raise anything
            _log.warning(_DROPPED, type(error).__name__)
            return True


class TicketTransport(Transport):
    """Kombu's Redis transport, limited to tickets."""

    Channel = _TicketChannel

    # Reconnect after every error of Redis. Otherwise Celery would end the whole worker, for instance after a failover.
    connection_errors = (*Transport.connection_errors, RedisError)

    def _deliver(self, message: Any, queue: str) -> None:
        if not is_ticket(message, queue):
            _log.warning(_DROPPED, "unknown content")
            return
        # All tickets are alike, so a new ticket is delivered, with nothing of the received message. Each has its own
        # id: if two tickets had the same id, the second would never be acknowledged.
        super()._deliver(new_ticket(queue), queue)  # type: ignore[no-untyped-call]  # half typed
