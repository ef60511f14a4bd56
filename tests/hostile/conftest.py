"""The fixtures of real workers, which hostile input is given to."""

from __future__ import annotations

from tests.integration.conftest import client, start_worker

__all__ = ["client", "start_worker"]
