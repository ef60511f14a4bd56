"""A transport that takes only fiqa's tickets from the queue. Every other message is dropped, with a line in the log.

Celery itself ends the whole worker over a message that is not JSON or lacks a field. It puts the message back as it
ends, so the message then ends every other worker as well.

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
from fiqa.contract import QUEUE, TASK_NAME
from fiqa.errors import MissingDependencyError

_log = logging.getLogger(__name__)

_MAX_BODY_CHARS: Final = 1024
_DROPPED: Final = "message dropped, not a ticket: %s"

# What is overridden or called below, with its parameters.
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
    """Return if kombu has every method that is overridden here, with the parameters that it had in 5.7.

    Raises:
        MissingDependencyError: it has not. Strangers' messages would then end workers again.
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


def is_ticket(message: object) -> bool:
    """Whether a message is one that fiqa publishes: its one task, without arguments."""
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
            # Kombu would count this ticket as held for ever. A worker that holds as many tickets as it may asks for no
            # more: it does not notice that its connection is broken, never reconnects, and stands still.
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
        """Connect as the ledger does, with the same options: kombu ignores some of the URL's and fails over others."""
        theirs = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]  # half typed
        ours = self.connection.client.transport_options["fiqa_connection"]
        # Kombu's class, which reports to its event loop that a connection is closed.
        return {"db": 0, **ours, "connection_class": theirs["connection_class"]}

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # half typed
        except (Empty, OSError, RedisError):
            raise
        except Exception as error:  # noqa: BLE001  parsing a stranger's bytes may raise anything
            _log.warning(_DROPPED, type(error).__name__)
            return True


class TicketTransport(Transport):
    """Kombu's Redis transport, limited to tickets."""

    Channel = _TicketChannel

    # Whatever Redis answers, reconnect: Celery would otherwise end the whole worker, for instance after a failover.
    connection_errors = (*Transport.connection_errors, RedisError)

    def _deliver(self, message: Any, queue: str) -> None:
        if not is_ticket(message):
            _log.warning(_DROPPED, "something else")
            return
        # Tickets are alike, so a new one is handed on, with nothing of the message that came. Each has its own id: of
        # two tickets with the same id, the second would never be acknowledged.
        super()._deliver(new_ticket(), queue)  # type: ignore[no-untyped-call]  # half typed
