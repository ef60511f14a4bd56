"""The Celery application of a worker. It has no result backend: the ledger counts results."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu.entity import Exchange, Queue

from fiqa.contract import DEFAULT_NAMESPACE
from fiqa.ledger.keys import Keys
from fiqa.ledger.redis_url import connection_arguments
from fiqa.ledger.sentinel import split_addresses
from fiqa_worker.service.tickets import TicketTransport


class _Celery(Celery):  # type: ignore[misc]  # Celery has no types
    """Celery that ignores the variables CELERY_*: they are meant for another application.

    Plain Celery would take tickets from CELERY_BROKER_URL and open CELERY_RESULT_BACKEND. Unless config_from_object is
    called, it would also take the task routes of CELERY_CONFIG_MODULE.
    """

    backend_cls = "disabled"

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        return _with_transport(super().connection_for_read(url or self.conf["broker_url"], **options))

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        return _with_transport(super().connection_for_write(url or self.conf["broker_url"], **options))


def _with_transport(connection: Any) -> Any:
    # The transport is set here and not by a name in the URL: the URL in the log would begin with that name.
    connection.get_transport_cls = lambda: TicketTransport
    return connection


def make_app(redis_url: str, namespace: str = DEFAULT_NAMESPACE) -> Celery:
    """Make the application.

    Args:
        redis_url: the Redis that holds the tickets.
        namespace: the namespace of the keys.

    Raises:
        SettingsError: `redis_url` is not a Redis URL.
    """
    keys = Keys(namespace)
    app = _Celery("fiqa", loader="app", set_as_current=False)
    app.config_from_object({"broker_url": _shown(redis_url)})
    app.conf.update(
        # Accept JSON only: a pickle from a stranger runs code.
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # One queue on the default exchange is enough: the ledger decides priority and fairness.
        task_default_queue=keys.tickets,
        task_queues=[Queue(keys.tickets, Exchange(""), routing_key=keys.tickets)],
        # A ticket is acknowledged when its chunk is done. Celery must not redeliver the ticket of a pool process that
        # died: with task_reject_on_worker_lost, a chunk that kills workers was delivered 100 times in 12 s. The ledger
        # counts attempts before the work, and so limits them.
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        # onnxruntime and CUDA sessions must not cross a fork.
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=120,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_consumer="fiqa_worker.service.consumer:PatientConsumer",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 3600,
            # By default, kombu would also read three more lists, which are always empty.
            "priority_steps": [0],
            "unacked_key": keys.unacked,
            "unacked_index_key": keys.unacked_index,
            "unacked_mutex_key": keys.unacked_mutex,
            # TicketTransport connects with these arguments. Kombu would ignore some options of the URL, and raise
            # errors for others.
            "fiqa_connection": connection_arguments(redis_url),
        },
    )
    return app


def _shown(redis_url: str) -> str:
    """Return the URL for kombu and for the log, without user, password and options."""
    single_url, sentinels = split_addresses(redis_url)
    parts = urlsplit(single_url)
    if parts.scheme == "unix":
        return f"redis+socket://{parts.path}"
    if sentinels:
        # Kombu takes one host. It is only shown: TicketTransport asks all Sentinels.
        host, port = sentinels[0]
        return f"sentinel://{f'[{host}]' if ':' in host else host}:{port}{parts.path}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
