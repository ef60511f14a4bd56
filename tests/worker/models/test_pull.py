from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fiqa.errors import SettingsError
from fiqa_worker.errors import ModelError
from fiqa_worker.models.pull import fetch_or_builtin, pull
from fiqa_worker.models.registry import REGISTRY, Model

CONTENT = b"stands for a model file" * 10_000
OFFICIAL = ("yunet_2023mar", "ediffiqa_tiny_jun2024")


class _Handler(BaseHTTPRequestHandler):
    stalled = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/plain":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/model.onnx")
            self.end_headers()
            return
        body = {"/model.onnx": CONTENT, "/other.onnx": CONTENT[::-1], "/long.onnx": CONTENT + b"!"}.get(self.path)
        if self.path == "/stalls":
            self.stalled.wait(20)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """Keep the output of the tests clean."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fiqa tests")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a real https server that this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{http.server_address[1]}"
        _Handler.stalled.set()
        http.shutdown()
        thread.join()
        _Handler.stalled.clear()


def model_at(*urls: str) -> Model:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return Model("known", "known.onnx", len(CONTENT), sha256, "MIT", "these tests", urls, "detector", 0.7)


def test_pull_tries_the_addresses_in_order_and_reports_progress(server: str, tmp_path: Path) -> None:
    seen: list[int] = []
    model = model_at(f"{server}/missing", f"{server}/other.onnx", f"{server}/model.onnx")
    pulled = pull(model, tmp_path / "new", timeout_s=10, attempts=1, progress=seen.append)
    assert pulled.path.read_bytes() == CONTENT
    assert seen[-1] == len(CONTENT)
    assert [path.name for path in pulled.path.parent.iterdir()] == ["known.onnx"]


def test_pull_keeps_a_file_that_is_already_right(tmp_path: Path) -> None:
    (tmp_path / "known.onnx").write_bytes(CONTENT)
    assert pull(model_at("https://127.0.0.1:9/known.onnx"), tmp_path, timeout_s=1).path == tmp_path / "known.onnx"


def test_pull_says_which_addresses_it_tried_and_why_each_failed(server: str, tmp_path: Path) -> None:
    paths = ("missing", "other.onnx", "long.onnx", "plain")
    with pytest.raises(ModelError) as error:
        pull(model_at(*(f"{server}/{path}" for path in paths)), tmp_path, timeout_s=10, attempts=1)
    message = str(error.value)
    assert "/missing: HTTP Error 404" in message
    assert "/other.onnx: this is not known.onnx: its SHA-256 is" in message
    assert f"/long.onnx: sends more than the {len(CONTENT)} bytes" in message
    assert "/plain: unknown url type: http)" in message
    assert message.endswith(
        f": put known.onnx into {tmp_path} by hand, or set FIQA_MODELS_DIR to the folder that holds it"
    )
    assert "<" not in message
    assert list(tmp_path.iterdir()) == []


def test_pull_does_not_trust_a_certificate_it_cannot_check(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ModelError, match="CERTIFICATE_VERIFY_FAILED"):
        pull(model_at(f"{server}/model.onnx"), tmp_path, timeout_s=10, attempts=1)


def test_the_error_for_a_folder_that_cannot_be_written_is_one_clear_line(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match=r"cannot write .* set FIQA_MODELS_DIR to a writable folder"):
        pull(model_at(f"{server}/model.onnx"), tmp_path / "file", timeout_s=10)


def test_built_in_models_are_the_fallback_for_official_ones_that_do_not_come_in_time(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OFFICIAL:
        monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], urls=(f"{server}/stalls",)))
    detector, quality, note = fetch_or_builtin(
        str(tmp_path), detector=OFFICIAL[0], quality_model=OFFICIAL[1], timeout_s=0.2
    )
    assert (detector.name, quality.name) == ("builtin_detector", "builtin_quality")
    assert note is not None
    assert "builtin_detector and builtin_quality" in note
    assert "not comparable" in note
    assert "\n" not in note


def test_each_model_has_its_own_fallback_and_a_reachable_model_is_fetched(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reachable = replace(model_at(f"{server}/model.onnx"), name=OFFICIAL[0])
    monkeypatch.setitem(REGISTRY, OFFICIAL[0], reachable)
    monkeypatch.setitem(REGISTRY, OFFICIAL[1], replace(REGISTRY[OFFICIAL[1]], urls=(f"{server}/missing",)))
    detector, quality, note = fetch_or_builtin(str(tmp_path), detector=OFFICIAL[0], quality_model=OFFICIAL[1])
    assert (detector.name, detector.path) == (OFFICIAL[0], tmp_path / "known.onnx")
    assert quality.name == "builtin_quality"
    assert note is not None
    assert note.startswith("using builtin_quality, since ediffiqa_tiny_jun2024 could not be downloaded")


def test_a_model_that_was_chosen_has_no_fallback(tmp_path: Path) -> None:
    found = fetch_or_builtin(str(tmp_path), detector="builtin_detector", quality_model="builtin_quality")
    assert [found[0].name, found[1].name, found[2]] == ["builtin_detector", "builtin_quality", None]
    with pytest.raises(ModelError, match=r"cannot read .*mine\.onnx"):
        fetch_or_builtin(str(tmp_path), detector=str(tmp_path / "mine.onnx"), quality_model="builtin_quality")


@pytest.mark.parametrize("field", [0, 1])
def test_an_official_model_that_the_user_named_is_never_replaced(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: int
) -> None:
    for name in OFFICIAL:
        monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], urls=(f"{server}/missing",)))
    setting = ("FIQA_DETECTOR", "FIQA_QUALITY_MODEL")[field]
    named = {OFFICIAL[field]: setting}
    expected = rf"^{setting}: {OFFICIAL[field]} is not in .* and could not be downloaded: run `fiqa models pull`, or"
    with pytest.raises(SettingsError, match=expected):
        fetch_or_builtin(str(tmp_path), detector=OFFICIAL[0], quality_model=OFFICIAL[1], named=named)


def test_a_wrong_official_file_is_refused_and_has_no_fallback(tmp_path: Path) -> None:
    (tmp_path / REGISTRY[OFFICIAL[0]].file).write_bytes(b"something else")
    with pytest.raises(ModelError, match="refused"):
        fetch_or_builtin(str(tmp_path), detector=OFFICIAL[0], quality_model="builtin_quality")
