"""The files under deploy/ and the compose file name only what is there. tests/containers runs them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fiqa_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction and its arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", dockerfile.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


@pytest.mark.parametrize("path", [*DOCKERFILES, ROOT / "docker-compose.yml"], ids=lambda path: path.name)
def test_the_settings_it_names_exist(path: Path) -> None:
    names = {name.lower() for name in re.findall(r"FIQA_([A-Z_]+)", path.read_text())}
    assert names <= set(WorkerSettings.model_fields)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_is_there_and_not_kept_out(dockerfile: Path) -> None:
    copies = [rest.split() for word, rest in instructions(dockerfile) if word == "COPY"]
    sources = [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(sources) <= let_in


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_installs_extras_that_exist_runs_without_rights_and_gets_the_signals(dockerfile: Path) -> None:
    words = dict(instructions(dockerfile))
    extras = set(re.findall(r"\.\[([^\]]+)\]", dockerfile.read_text())[0].replace("$EXTRA", "cpu,gpu").split(","))
    assert extras <= set(EXTRAS)
    assert words["USER"] == "10001:10001"
    assert words["ENTRYPOINT"].startswith("[")


def test_every_service_waits_for_those_it_needs_and_these_say_when_they_are_ready() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
    assert set(services["worker"]["depends_on"]) == {"redis", "bucket"}


def test_no_container_gains_rights_and_ours_have_none() -> None:
    for service in COMPOSE["services"].values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert "user" not in service  # it is the image's own, which is not root
        if "build" in service:
            assert service["cap_drop"] == ["ALL"]
            assert service["read_only"]
            assert "cap_add" not in service


def test_a_worker_can_be_scaled_and_has_time_to_drain() -> None:
    worker = COMPOSE["services"]["worker"]
    assert "container_name" not in worker
    assert "ports" not in worker
    assert int(worker["stop_grace_period"].removesuffix("s")) > WorkerSettings.load().drain_s + 5


def test_builds_name_a_dockerfile_that_is_there_and_images_a_version() -> None:
    for service in COMPOSE["services"].values():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).exists()
        else:
            assert re.search(r":v?\d", service["image"])


def test_redis_forgets_no_job() -> None:
    command = COMPOSE["services"]["redis"]["command"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_results_are_stored_where_the_workers_may_write() -> None:
    for name in ("worker", "worker-gpu", "demo"):
        assert COMPOSE["services"][name]["environment"]["FIQA_STORAGE"].startswith("s3://fiqa/")
