"""`fiqa doctor` as people type it."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fiqa.ledger.ledger import Ledger
from tests.fiqa_process import BUILTIN
from tests.producer.cli.running import FIQA, fiqa
from tests.servers import free_ports, start_redis

# The checks of the client, in the order of the table.
CLIENT = ["redis", "memory", "persistence", "role", "clock", "rights", "storage", "s3", "workers", "jobs"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, and a folder for models in which nothing is."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**BUILTIN, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FIQA_MODELS_DIR", str(tmp_path / "models"))


def found(*arguments: str, status: int, **env: str) -> list[dict[str, Any]]:
    done = fiqa("doctor", "--json", *arguments, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wrong(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["check"] for finding in findings if finding["state"] == "wrong"]


@contextmanager
def silent_server() -> Iterator[int]:
    """Yield the port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        for connection in held:
            connection.close()
        server.shutdown(socket.SHUT_RDWR)


def test_a_setup_without_problems_has_status_0_and_every_check(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with start_redis(tmp_path / "redis", {"appendonly": "yes"}) as server:
        done = fiqa("doctor", env={"FIQA_REDIS_URL": server.url, "COLUMNS": "200"})
    assert done.returncode == 0, done.stdout
    head, *rows = done.stdout.splitlines()
    assert head.split()[:2] == ["check", "state"]
    checks = [row.split()[0] for row in rows]
    assert checks[: len(CLIENT)] == CLIENT
    assert checks[len(CLIENT) :] == [
        *("models", "models", "self-test", "device", "packages", "threads", "sources", "disk", "disk", "versions"),
    ]
    states = {row.split()[0]: row.split()[1] for row in rows}
    assert (states["self-test"], states["workers"]) == ("ok", "warning")
    assert done.stderr == "nothing wrong, 1 warning\n"


def test_a_dead_redis_is_one_red_line_and_status_1(ledger: Ledger) -> None:
    del ledger
    findings = found(status=1, FIQA_REDIS_URL=f"redis://user:secret-5f1c@127.0.0.1:{free_ports(1)}/0")
    assert wrong(findings) == ["redis"]
    assert "start it, or set FIQA_REDIS_URL" in findings[0]["text"]
    assert "5f1c" not in json.dumps(findings)


def test_servers_that_never_answer_do_not_hold_it_up(ledger: Ledger) -> None:
    del ledger
    with silent_server() as port:
        findings = found(
            status=1,
            FIQA_REDIS_URL=f"redis://127.0.0.1:{port}/0",
            FIQA_STORAGE="s3://bucket",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
            AWS_ACCESS_KEY_ID="key-5f1c",
            AWS_SECRET_ACCESS_KEY="secret-5f1c",  # noqa: S106  of a test
        )
    assert set(wrong(findings)) >= {"redis", "storage"}  # on a busy machine, other checks may be late too
    assert "5f1c" not in json.dumps(findings)


def test_a_missing_model_is_wrong_and_says_what_to_do(ledger: Ledger) -> None:
    del ledger
    findings = found(status=1, FIQA_QUALITY_MODEL="ediffiqa_tiny_jun2024")
    assert wrong(findings) == ["models"]
    (text,) = [finding["text"] for finding in findings if finding["state"] == "wrong"]
    assert "run `fiqa models pull`" in text


def test_a_wrong_setting_is_a_red_line(ledger: Ledger) -> None:
    del ledger
    for name, value in {"FIQA_REDIS_URL": "http://host", "FIQA_DETECT_SIZE": "7"}.items():
        findings = found(status=1, **{name: value})
        assert wrong(findings) == ["settings"]
        (text,) = [finding["text"] for finding in findings if finding["check"] == "settings"]
        assert text.startswith(f"{name}: ")
        # A wrong setting of the worker does not keep Redis from being checked.
        checks = {finding["check"] for finding in findings}
        assert {"disk", "versions"} <= checks
        assert ("redis" in checks) == (name == "FIQA_DETECT_SIZE")


def test_a_source_is_checked(ledger: Ledger, images: Path) -> None:
    del ledger
    findings = found("--source", str(images), "--source", "/nowhere/at/all", status=1)
    texts = {finding["text"]: finding["state"] for finding in findings if finding["check"] == "source"}
    assert list(texts.values()) == ["ok", "wrong"]
    assert next(iter(texts)) == f"{images}: listed"


def test_the_light_client_has_no_worker_to_check(ledger: Ledger, tmp_path: Path) -> None:
    del ledger
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "heavy = {'cv2', 'onnxruntime'}\n"
        "importlib.util.find_spec = lambda name, package=None: None if name in heavy else find(name, package)\n"
    )
    command = [*FIQA, "doctor", "--json"]  # in a new process: Python reads sitecustomize at its start
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    (finding,) = [finding for finding in findings if finding["check"] == "models"]
    assert (finding["state"], finding["text"][:24]) == ("skipped", "this is the light client")
    assert "self-test" not in {finding["check"] for finding in findings}


def test_a_worker_that_lacks_a_package_is_wrong(ledger: Ledger, tmp_path: Path) -> None:
    del ledger
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['cv2'] = None\n")
    findings = found(status=1, PYTHONPATH=str(tmp_path))
    assert wrong(findings) == ["self-test"]
    assert "cv2" in json.dumps(findings)


def test_an_unknown_option_is_wrong_usage() -> None:
    assert fiqa("doctor", "--everything").returncode == 2


def test_a_narrow_terminal_wraps_the_text_and_a_pipe_does_not(ledger: Ledger) -> None:
    del ledger
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [*FIQA, "doctor"],
        stdout=secondary,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "60", "TERM": "xterm"},
    )
    os.close(secondary)
    text = b""
    with suppress(OSError):  # the end of a terminal
        while part := os.read(primary, 65536):
            text += part
    os.close(primary)
    assert process.wait(60) == 0
    assert b"\x1b[32mok" in text
    assert b"\x1b[33mwarning" in text
    assert len(text.splitlines()) > len(fiqa("doctor").stdout.splitlines())
