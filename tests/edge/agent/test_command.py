"""The ``edge-agent`` command, and TLS to the hub."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from device import Device

from edge_components.agent.ddi import DdiClient
from edge_components.agent.http import HubError, HubHttp, Timeouts
from edge_components.agent.main import main
from edge_components.contract.device import HubSection


def test_status_tells_what_the_device_would_report(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    device.start()
    device.install(1, "one")
    assert main(["status", "--config", str(device.config_path)]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["agent_running"] is True
    assert status["report"]["state"] == "healthy"
    assert status["runtime"]["release"] == 1
    assert device.stop() == 0
    assert main(["status", "--config", str(device.config_path)]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["agent_running"] is False
    assert status["runtime"] is None
    assert status["report"]["active_release"] == 0


def test_status_of_a_new_device_is_pending(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--config", str(device.config_path)]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["state"] == "pending"


def test_check_config_names_the_publishers(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", "--config", str(device.config_path)]) == 0
    assert json.loads(capsys.readouterr().out)["publishers"] == [device.publisher.hint]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('hardware = "x86-64-cpu"', 'hardware = "toaster"', "device.hardware 'toaster' is not"),
        ("publisher.pem", "other.pem", "there is no file"),
        ("publishers = [", "publishers = [] # [", "trust.publishers names no key"),
        ("[device]", "[devices]", "unknown field"),
        ("[device]", "[device", "cannot be read"),
    ],
)
def test_configuration_that_cannot_be_used_is_one_sentence_and_exit_code_1(
    device: Device, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    text = device.config_path.read_text()
    device.config_path.write_text(text.replace(old, new))
    assert main(["check-config", "--config", str(device.config_path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "device.toml" in error
    assert error.count("\n") == 1


def test_missing_configuration_is_exit_code_1_and_wrong_usage_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--config", str(tmp_path / "none.toml")]) == 1
    assert "none.toml" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["run"])
    assert caught.value.code == 2


def test_unit_file_is_shipped_with_the_package() -> None:
    unit = resources.files("edge_components.agent").joinpath("edge-agent.service").read_text()
    assert "ExecStart=" in unit
    assert "Type=notify" in unit


class _Polls(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        return

    def do_GET(self) -> None:
        certificate = self.connection.getpeercert()  # type: ignore[attr-defined]  # TLS
        data = b'{"config":{"polling":{"sleep":"00:00:42"}}}'
        self.send_response(200 if certificate else 401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class TlsHub:
    """A TLS server that asks for a client certificate, and everyone's certificates."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.ca = _issue(folder / "ca", "ca", key, key, is_ca=True)
        for name in ("server", "d1"):
            own = ec.generate_private_key(ec.SECP256R1())
            _issue(folder / name, name, own, key, is_ca=False)
        self.folder = folder
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Polls)
        self.httpd.daemon_threads = True
        self.httpd.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.httpd.socket = context.wrap_socket(self.httpd.socket, server_side=True)
        threading.Thread(
            target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def section(self, **how: str) -> HubSection:
        return HubSection(url=f"https://127.0.0.1:{self.httpd.server_address[1]}", **how)

    def file(self, name: str) -> str:
        return str(self.folder / name)


def _issue(
    path: Path,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
) -> Path:
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(issuer, hashes.SHA256())
    )
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    pem = path.with_suffix(".pem")
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return pem


@pytest.fixture
def tls_hub(tmp_path: Path) -> Iterator[TlsHub]:
    hub = TlsHub(tmp_path)
    yield hub
    hub.httpd.shutdown()
    hub.httpd.server_close()


def _poll(section: HubSection) -> float:
    http = HubHttp(section, timeouts=Timeouts(connect_s=5, read_s=5), agent="test")
    try:
        return DdiClient(http, section, "d1").poll().sleep_s()
    finally:
        http.close()


def test_device_is_known_by_its_client_certificate(tls_hub: TlsHub) -> None:
    section = tls_hub.section(
        ca=tls_hub.file("ca.pem"),
        certificate=tls_hub.file("d1.pem"),
        key=tls_hub.file("d1.key"),
    )
    assert _poll(section) == 42


def test_hub_with_an_unknown_authority_is_not_talked_to(tls_hub: TlsHub) -> None:
    with pytest.raises(HubError, match="cannot be reached") as caught:
        _poll(tls_hub.section(token="secret"))
    assert "secret" not in str(caught.value)


def test_refused_token_is_an_error_that_may_pass(tls_hub: TlsHub) -> None:
    with pytest.raises(HubError, match="401") as caught:
        _poll(tls_hub.section(ca=tls_hub.file("ca.pem"), token="secret"))
    assert not caught.value.is_final
    assert "secret" not in str(caught.value)
