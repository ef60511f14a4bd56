from __future__ import annotations

import os

import pytest

from tests.containers.engine import IMAGES, Docker, start_docker


@pytest.fixture(scope="session")
def docker() -> Docker:
    """A daemon that has the images of deploy/."""
    if os.environ.get("FIQA_TEST_CONTAINERS") != "1":
        pytest.skip(
            "containers take minutes: set FIQA_TEST_CONTAINERS=1 (needs root; tests/containers/start-docker.sh)"
        )
    docker = start_docker()
    for name in IMAGES:
        docker.build(name)
    return docker
