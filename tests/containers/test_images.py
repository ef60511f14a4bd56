"""The images of deploy/, as `docker run` starts them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fiqa import __version__
from fiqa_worker.models.registry import REGISTRY
from tests.containers.engine import ROOT, Docker

PORTRAIT = "/opt/fiqa/app/fiqa_worker/demo/portrait/astronaut.jpg"
CONFINED = ("--rm", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none")
# Of packages and fiqa, without the base image. A package that doubles it must be noticed.
MOST_MB = {"fiqa-worker": 450, "fiqa-client": 75}


@pytest.mark.parametrize("user", ["10001:10001", "1000680000:0", "4242:4242"])
def test_it_scores_without_a_network_a_home_folder_or_rights_and_with_a_read_only_root(
    docker: Docker, user: str
) -> None:
    done = docker.run("run", *CONFINED, f"--user={user}", "fiqa-worker", "score", PORTRAIT)
    assert done.stdout.startswith("quality 0.756")
    assert done.stderr == ""  # above all, the models are prepared


def test_a_worker_without_redis_ends_with_one_line(docker: Docker) -> None:
    done = docker.run("run", *CONFINED, "fiqa-worker", check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "redis" in done.stderr.lower()


def test_the_client_is_light_and_names_what_a_worker_needs(docker: Docker) -> None:
    assert docker.run("run", *CONFINED, "fiqa-client", "--version").stdout == f"fiqa, version {__version__}\n"
    done = docker.run("run", *CONFINED, "fiqa-client", "worker", check=False)
    assert done.returncode == 2
    assert "fiqa[cpu]" in done.stderr


@pytest.mark.parametrize("name", ["fiqa-worker", "fiqa-client"])
def test_an_image_is_labeled_and_small_and_its_user_is_a_number(docker: Docker, name: str) -> None:
    image = docker.inspect(name)
    config = image["Config"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Entrypoint"] == ["fiqa"]
    assert config["User"] == "10001:10001"
    added = image["Size"] - docker.inspect("fiqa-test-python")["Size"]
    assert added / 1e6 <= MOST_MB[name]


def test_onnxruntime_sends_no_telemetry(docker: Docker) -> None:
    assert "ORT_DISABLE_TELEMETRY=1" in docker.inspect("fiqa-worker")["Config"]["Env"]


def test_a_build_without_network_refuses_a_model_that_is_not_the_official_one(docker: Docker, tmp_path: Path) -> None:
    for name in (".dockerignore", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy2(ROOT / name, tmp_path)
    for name in ("producer", "worker", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name)
    model = REGISTRY["yunet_2023mar"]
    (tmp_path / "deploy" / "models" / model.file).write_bytes(b"not a model")
    with pytest.raises(RuntimeError, match=f"{model.file}: refused: this is not {model.file}"):
        docker.build("fiqa-worker", context=tmp_path, network="none", models={"FIQA_DETECTOR": model.name})
