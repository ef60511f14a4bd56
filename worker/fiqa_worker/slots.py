"""A ticket whose acknowledgement fails frees its slot all the same, so that a worker outlives the loss of Redis.

Kombu counts such a ticket as held for ever. When a worker holds as many as it may, it asks for no more: it does not
notice that its connection is broken, never connects anew, and stands still until it is started again.
"""

from __future__ import annotations

from kombu.transport import redis, virtual


class _QoS(redis.QoS):
    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # Kombu is half typed
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise


def free_slots() -> None:
    """For all of Kombu's channels to Redis that this process opens from now on."""
    # Not by a transport of our own: the URL of a Unix socket takes Kombu's, whatever the settings say.
    redis.Channel.QoS = _QoS
