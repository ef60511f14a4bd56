"""The Celery configuration of producers and workers, and the tickets that they exchange.

A ticket names no job and holds no URI. It means "one chunk of any due job". All tickets are alike, so a lost,
duplicate or late ticket changes no count.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from celery import Celery
from celery.utils import uuid
from kombu.entity import Exchange, Queue
from kombu.exceptions import BatchPublishError, OperationalError

from fiqa.contract import QUEUE, TASK_NAME
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.connection import connection_options
from fiqa.ledger.keys import UNACKED, UNACKED_INDEX, UNACKED_MUTEX
from fiqa.ledger.ledger import Ledger

_BATCH: Final = 500


class _Celery(Celery):  # type: ignore[misc]  # Celery has no types
    """Celery that ignores the variables CELERY_*: they are meant for the application that a producer is part of.

    Plain Celery would send tickets to CELERY_BROKER_URL and open CELERY_RESULT_BACKEND. Unless config_from_object is
    called, it would also follow the routes of CELERY_CONFIG_MODULE.
    """

    backend_cls = "disabled"
    read_transport: type | None = None

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        connection = super().connection_for_read(url or self.conf["broker_url"], **options)
        if self.read_transport is not None:
            # Only this connection gets the transport, and its URL in the log stays as it is.
            connection.get_transport_cls = lambda: self.read_transport
        return connection

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_write(url or self.conf["broker_url"], **options)


def make_app(redis_url: str, *, read_transport: type | None = None) -> Celery:
    """Make the Celery application of a producer or a worker. It has no result backend: the ledger counts results.

    Args:
        redis_url: URL of the broker.
        read_transport: the class of the kombu transport that a worker consumes with; None for kombu's default.
    """
    app = _Celery("fiqa", loader="app", set_as_current=False)
    app.read_transport = read_transport
    app.config_from_object({"broker_url": _broker_url(redis_url)})
    app.conf.update(
        # Accept JSON only: a pickle from a stranger runs code.
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # One queue on the default exchange: the ledger handles priority and fairness.
        task_default_queue=QUEUE,
        task_queues=[Queue(QUEUE, Exchange(""), routing_key=QUEUE)],
        # A ticket is acknowledged when its chunk is done. The ledger counts attempts before the work: with
        # task_reject_on_worker_lost, a chunk that kills workers was delivered 100 times in 12 s.
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        # onnxruntime and CUDA sessions must not cross a fork.
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=120,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 3600,
            "unacked_key": UNACKED,
            "unacked_index_key": UNACKED_INDEX,
            "unacked_mutex_key": UNACKED_MUTEX,
            **connection_options(redis_url),
        },
    )
    return app


def publish_tickets(app: Celery, ledger: Ledger) -> int:
    """Publish the tickets that the queue lacks, and return their number.

    Raises:
        RedisUnavailableError: Redis does not answer, or refuses.
    """
    missing = ledger.missing_tickets()
    if not missing:
        return 0
    try:
        with (
            ledger.connection.errors(),
            app.producer_pool.acquire(block=True) as producer,
            producer.batch(max_size=_BATCH),
        ):
            # Tickets differ only in their ids. To build the message once makes publishing four times as fast.
            ticket = app.amqp.as_task_v2("", TASK_NAME)
            for _ in range(missing):
                task_id = uuid()
                headers = {**ticket.headers, "id": task_id, "root_id": task_id}
                producer.publish(
                    ticket.body,
                    headers=headers,
                    exchange="",
                    routing_key=QUEUE,
                    serializer="json",
                    delivery_mode="persistent",
                    retry=False,
                    **{**ticket.properties, "correlation_id": task_id},
                )
    except (OperationalError, BatchPublishError) as error:
        raise RedisUnavailableError(f"cannot publish tickets: {error}: start Redis, or set FIQA_REDIS_URL") from error
    return missing


def _broker_url(redis_url: str) -> str:
    """Return the URL in kombu's form. Only the URL of a Unix socket differs."""
    if not redis_url.startswith("unix://"):
        return redis_url
    parts = urlsplit(redis_url)
    options = dict(parse_qsl(parts.query))
    user = quote(options.pop("username", unquote(parts.username or "")), safe="")
    password = quote(options.pop("password", unquote(parts.password or "")), safe="")
    if "db" in options:
        options["virtual_host"] = options.pop("db")
    login = f"{user}:{password}@" if user or password else ""
    return f"redis+socket://{login}{parts.path}" + (f"?{urlencode(options)}" if options else "")
