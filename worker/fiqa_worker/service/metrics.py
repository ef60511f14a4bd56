"""Serves /metrics in the main process, in the format of Prometheus.

A scrape reads the shared counters of the pool processes, and the figures of the ledger. No metric names a job or an
image. So the number of lines does not depend on what is scored.
"""

from __future__ import annotations

import platform
import socket
import threading
from collections.abc import Callable, Iterator
from socketserver import ThreadingMixIn
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from fiqa.errors import RedisUnavailableError, SettingsError
from fiqa.ledger.overview import Overview
from fiqa.ledger.workers import WorkerStatus
from fiqa_worker.service.counters import BUCKETS_S, Histogram, SharedCounters

# A scrape must not wait for a Redis that hangs: Prometheus gives up after 10 s, and would lose all metrics.
_REDIS_LIMIT_S: Final = 2.0
_REQUEST_LIMIT_S: Final = 10.0


class LedgerReader:
    """Reads the figures of the ledger, but does not wait long for them."""

    def __init__(self, read: Callable[[], Overview], *, limit_s: float = _REDIS_LIMIT_S) -> None:
        self._read = read
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._found: Overview | None = None

    def read(self) -> Overview | None:
        """Return the figures; None if Redis does not answer in time, or refuses."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._found = None
                self._thread = threading.Thread(target=self._keep, name="overview", daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(self._limit_s)
        return None if thread.is_alive() else self._found

    def _keep(self) -> None:
        try:
            self._found = self._read()
        except RedisUnavailableError:  # the reconciler logs it
            self._found = None


class WorkerMetrics(Collector):
    """Turns the numbers of a worker and of its ledger into metrics."""

    def __init__(
        self,
        worker: WorkerStatus,
        counters: SharedCounters,
        heartbeat_age_s: Callable[[], float],
        ledger: LedgerReader,
    ) -> None:
        self._worker = worker
        self._counters = counters
        self._heartbeat_age_s = heartbeat_age_s
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        yield from self._facts()
        yield from self._work()
        overview = self._ledger.read()
        yield _gauge("fiqa_redis_up", "Whether Redis answered this scrape within 2 s.", float(overview is not None))
        if overview is not None:
            yield from _jobs(overview)

    def _facts(self) -> Iterator[Metric]:
        worker = self._worker
        yield InfoMetricFamily(
            "fiqa_build", "The version of fiqa.", {"version": worker.version, "python": platform.python_version()}
        )
        yield InfoMetricFamily(
            "fiqa_model",
            "The models of this worker, their device, and the fingerprint of all that decides scores.",
            {
                "detector": worker.detector,
                "quality_model": worker.quality_model,
                "device": worker.device,
                "fingerprint": worker.fingerprint,
            },
        )
        yield _gauge("fiqa_processes", "Processes that score images, as configured.", worker.processes)
        yield _gauge("fiqa_start_time_seconds", "When this worker started, in Unix seconds.", worker.started)
        yield _gauge(
            "fiqa_heartbeat_age_seconds", "Seconds since Redis confirmed a heartbeat.", self._heartbeat_age_s()
        )

    def _work(self) -> Iterator[Metric]:
        totals = self._counters.totals()
        images = CounterMetricFamily(
            "fiqa_images",
            "Images in chunks that this worker counted, by status and error code.",
            labels=["status", "code"],
        )
        for (status, code), number in totals.images.items():
            images.add_metric([status, code], number)
        yield images
        yield CounterMetricFamily("fiqa_faces", "Faces in these images.", totals.faces)
        yield CounterMetricFamily("fiqa_fetched_bytes", "Bytes of image files that were read.", totals.bytes_fetched)
        yield CounterMetricFamily(
            "fiqa_redeliveries",
            "Chunks that were claimed again after an earlier attempt was lost.",
            totals.redelivered,
        )
        yield _gauge("fiqa_chunks_in_flight", "Chunks in work in this worker.", totals.chunks_in_flight)
        stages = HistogramMetricFamily(
            "fiqa_stage_seconds", "Seconds per image and stage of the pipeline.", labels=["stage"]
        )
        for stage, histogram in totals.stages.items():
            stages.add_metric([stage], buckets=_buckets(histogram), sum_value=histogram.sum_s)
        yield stages


def _jobs(overview: Overview) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("fiqa_jobs", "Jobs that Redis knows, by state.", labels=["state"])
    for state, number in overview.jobs.items():
        jobs.add_metric([state], number)
    yield jobs
    left = GaugeMetricFamily(
        "fiqa_images_remaining", "Images without a result in running jobs, by priority.", labels=["priority"]
    )
    for priority, number in overview.images_left.items():
        left.add_metric([priority], number)
    yield left
    yield _gauge("fiqa_chunks_unclaimed", "Chunks that wait for a worker.", overview.chunks_unclaimed)
    yield _gauge("fiqa_tickets", "Tickets that wait in the queue.", overview.tickets)
    yield _gauge("fiqa_leases", "Chunks that workers hold.", overview.leases)
    yield _gauge("fiqa_workers", "Workers with a current heartbeat.", overview.workers)
    yield CounterMetricFamily(
        "fiqa_leases_expired", "Leases that expired, of all workers of this Redis.", overview.leases_expired
    )
    yield _gauge(
        "fiqa_oldest_queued_job_age_seconds",
        "Age of the oldest running job of which no chunk was claimed yet; 0 if there is none.",
        overview.oldest_queued_s,
    )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for limit, number in zip((*map(str, BUCKETS_S), "+Inf"), histogram.counts, strict=True):
        total += number
        buckets.append((limit, float(total)))
    return buckets


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_LIMIT_S  # a client that sends nothing holds a thread no longer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name in the base class
        """Log nothing: Prometheus asks every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    dual = socket.has_dualstack_ipv6()
    address_family = socket.AF_INET6 if dual else socket.AF_INET

    def server_bind(self) -> None:
        if self.dual:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # WSGIServer would look up the name of this machine, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "", self.server_address[1]
        self.setup_environ()


class MetricsServer:
    """Listens on a port of all addresses, also of IPv6."""

    def __init__(self, port: int) -> None:
        """Take the port. Nothing is served before `start`.

        Raises:
            SettingsError: this process cannot listen on the port.
        """
        try:
            self._server = _Server(("", port), _Handler)
        except OSError as error:
            raise SettingsError(
                f"FIQA_METRICS_PORT: cannot listen on port {port}: {error.strerror}: choose a free port above 1023"
            ) from error

    @property
    def port(self) -> int:
        return self._server.server_port

    def start(self, metrics: Collector) -> None:
        """Serve metrics until the process ends."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(metrics)
        self._server.set_app(make_wsgi_app(registry))
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stop serving, and free the port."""
        self._server.shutdown()
        self._server.server_close()
