"""The environment of the worker process that `fiqa run` and `fiqa demo` start."""

from __future__ import annotations

from fiqa_worker.settings import WorkerSettings


def environment_of(settings: WorkerSettings) -> dict[str, str]:
    """Return the FIQA_* variables of the settings that `run` and `demo` choose. The worker inherits the others."""
    return {
        "FIQA_DETECTOR": settings.detector,
        "FIQA_QUALITY_MODEL": settings.quality_model,
        "FIQA_ALLOWED_SOURCES": ",".join(settings.allowed_sources),
    }
