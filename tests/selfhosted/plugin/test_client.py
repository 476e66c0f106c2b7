"""Retries, errors of the connection, and what an unfriendly server may answer."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgectl import api
from edgectl_selfhosted._sdk import client as client_module
from edgectl_selfhosted._sdk.client import Client, pause_s
from edgectl_selfhosted._sdk.wire import TargetView
from edgectl_selfhosted.config import SelfhostedConfig

EMPTY = json.dumps({"content": [], "total": 0}).encode()
Answer = tuple[int, dict[str, str], bytes]


class Scripted(ThreadingHTTPServer):
    """Answers what it is told, in this order, and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: list[Answer | None] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def handle_any(self) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answer = self.server.script.pop(0)
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the base class's names

    def handle(self) -> None:
        # A client that refuses the certificate ends the connection in the middle.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            super().handle()

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(client_module, "PAUSE_S", 0.001)
    with Scripted() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def connect(tmp_path: Path) -> Callable[..., Client]:
    def connected(url: str, **config: Any) -> Client:
        return Client(SelfhostedConfig(url=url, **config), tmp_path)

    return connected


def list_devices(client: Client) -> list[TargetView]:
    with client:
        return list(client.pages("list the devices", "/rest/v1/targets", TargetView))


@pytest.mark.parametrize("passing", [429, 502, 503, 504])
def test_a_passing_refusal_is_tried_again(scripted: Any, connect: Any, passing: int) -> None:
    scripted.script = [(passing, {}, b""), (passing, {"Retry-After": "0"}, b""), (200, {}, EMPTY)]
    assert list_devices(connect(scripted.url)) == []
    assert len(scripted.asked) == 3


def test_a_broken_answer_to_a_read_is_tried_again(scripted: Any, connect: Any) -> None:
    scripted.script = [None, (200, {}, EMPTY)]
    assert list_devices(connect(scripted.url)) == []


def test_patience_ends(scripted: Any, connect: Any) -> None:
    scripted.script = [(429, {"Retry-After": "0"}, b"")] * 10
    with pytest.raises(api.ThrottledError):
        list_devices(connect(scripted.url))
    assert len(scripted.asked) == client_module.MAX_ATTEMPTS


def test_a_quota_is_final_at_once(scripted: Any, connect: Any) -> None:
    body = b'{"errorCode": "hawkbit.server.error.quota.tooManyEntries", "message": "full"}'
    scripted.script = [(429, {}, body)]
    with pytest.raises(api.LimitError, match="full") as caught:
        list_devices(connect(scripted.url))
    assert caught.value.vendor_code == "hawkbit.server.error.quota.tooManyEntries"
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("answer", [None, (503, {}, b"")])
def test_a_creation_that_may_have_happened_is_not_repeated(
    scripted: Any, connect: Any, answer: Answer | None
) -> None:
    scripted.script = [answer]
    with connect(scripted.url) as client, pytest.raises(api.UnreachableError):
        client.post("make it", "/rest/v1/targets", list[TargetView], [])
    assert len(scripted.asked) == 1


def test_a_creation_that_was_throttled_is_tried_again(scripted: Any, connect: Any) -> None:
    scripted.script = [(429, {}, b""), (201, {}, b"[]")]
    with connect(scripted.url) as client:
        assert client.post("make it", "/rest/v1/targets", list[TargetView], []) == []


def test_another_kind_of_server_is_recognized(scripted: Any, connect: Any) -> None:
    scripted.script = [(200, {"Content-Type": "text/html"}, b"<html>")]
    with pytest.raises(api.ProviderError, match="does not answer as a hawkBit server") as caught:
        list_devices(connect(scripted.url))
    assert "`url`" in caught.value.hint


def test_a_redirect_is_not_followed_with_credentials(scripted: Any, connect: Any) -> None:
    scripted.script = [(302, {"Location": "https://elsewhere/"}, b"")]
    with pytest.raises(api.ProviderError, match="sends to 'https://elsewhere/'"):
        list_devices(connect(scripted.url, username="u", password="p"))


def test_wrong_credentials_are_an_auth_error(scripted: Any, connect: Any) -> None:
    scripted.script = [(401, {}, b"")]
    with pytest.raises(api.AuthError) as caught:
        list_devices(connect(scripted.url))
    assert "password_file" in caught.value.hint


def test_pages_are_read_to_the_end(scripted: Any, connect: Any) -> None:
    def page(names: list[str]) -> Answer:
        content = [{"controllerId": name} for name in names]
        return (200, {}, json.dumps({"content": content, "total": 3}).encode())

    scripted.script = [page(["a", "b"]), page(["c"])]
    assert [t.controller_id for t in list_devices(connect(scripted.url))] == ["a", "b", "c"]
    assert "offset=2" in scripted.asked[1][1]


def test_a_list_that_shrinks_meanwhile_ends(scripted: Any, connect: Any) -> None:
    scripted.script = [
        (200, {}, b'{"content": [{"controllerId": "a"}], "total": 9}'),
        (200, {}, b'{"content": [], "total": 9}'),
    ]
    assert len(list_devices(connect(scripted.url))) == 1


def test_a_password_comes_from_its_file(scripted: Any, connect: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("opensesame\n")
    scripted.script = [(200, {}, EMPTY)]
    list_devices(connect(scripted.url, username="me", password_file="secret", tenant="T"))
    header = scripted.asked[0][2]["Authorization"]
    assert header == "Basic VFxtZTpvcGVuc2VzYW1l"  # T\me:opensesame


def test_a_token_comes_from_its_file(scripted: Any, connect: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    scripted.script = [(200, {}, EMPTY)]
    list_devices(connect(scripted.url, token_file="token"))
    assert scripted.asked[0][2]["Authorization"] == "Bearer abc"


@pytest.mark.parametrize("content", [None, ""])
def test_a_password_file_without_a_password_is_named(
    connect: Any, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "secret").write_text(content)
    with pytest.raises(api.AuthError, match="cannot read `password_file`"):
        connect("http://127.0.0.1:1", username="me", password_file="secret")


def test_a_probe_shows_no_credentials(scripted: Any, connect: Any) -> None:
    scripted.script = [(401, {}, b""), (401, {}, b"")]
    with connect(scripted.url, token="abc") as client:
        assert client.probe("/x") == 401
    with connect(scripted.url, username="u", password="p") as client:
        assert client.probe("/x") == 401
    assert all("Authorization" not in headers for _m, _p, headers in scripted.asked)


def test_a_closed_port_is_unreachable_after_some_attempts(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAUSE_S", 0.001)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(api.UnreachableError, match="cannot be reached") as caught:
            list_devices(connect(url))
    assert "edgectl hub" in caught.value.hint


def test_a_server_that_says_nothing_times_out(connect: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(api.UnreachableError, match="timed out") as caught:
            list_devices(connect(url, timeout_s=0.1))
    assert "timeout_s" in caught.value.hint


def test_tls_against_a_plain_server_says_so(scripted: Any, connect: Any) -> None:
    url = scripted.url.replace("http://", "https://")
    with pytest.raises(api.UnreachableError) as caught:
        list_devices(connect(url))
    assert "begins with http://" in caught.value.hint
    assert scripted.asked == []


@pytest.fixture
def secure(scripted: Scripted, tmp_path: Path) -> Scripted:
    """The scripted server behind TLS, with a certificate for ``localhost`` only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    scripted.socket = context.wrap_socket(
        scripted.socket, server_side=True, do_handshake_on_connect=False
    )
    return scripted


def test_a_private_authority_is_trusted_when_named(secure: Any, connect: Any) -> None:
    secure.script = [(200, {}, EMPTY)]
    url = f"https://localhost:{secure.server_port}"
    assert list_devices(connect(url, ca="ca.pem")) == []


def test_an_unknown_authority_is_refused_at_once(secure: Any, connect: Any) -> None:
    with pytest.raises(api.UnreachableError) as caught:
        list_devices(connect(f"https://localhost:{secure.server_port}"))
    assert "as `ca`" in caught.value.hint
    assert secure.asked == []


def test_a_certificate_for_another_name_is_refused(secure: Any, connect: Any) -> None:
    with pytest.raises(api.UnreachableError) as caught:
        list_devices(connect(f"https://127.0.0.1:{secure.server_port}", ca="ca.pem"))
    assert "another name" in caught.value.hint


def test_plain_http_to_a_tls_server_says_so(secure: Any, connect: Any) -> None:
    with pytest.raises(api.UnreachableError) as caught:
        list_devices(connect(f"http://localhost:{secure.server_port}"))
    assert "begins with https://" in caught.value.hint


def test_a_broken_ca_file_is_named(connect: Any, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(api.AuthError, match="cannot read `ca`"):
        connect("https://127.0.0.1:1", ca="ca.pem")


def test_plain_http_never_loads_the_systems_authorities(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda **_k: pytest.fail("loaded"))
    connect("http://127.0.0.1:1").__exit__(None, None, None)


@pytest.mark.parametrize(("header", "expected"), [("7", 7.0), ("0", 0.0), ("9999", 30.0)])
def test_a_servers_wish_to_wait_is_kept_within_bounds(header: str, expected: float) -> None:
    assert pause_s(1, header) == expected


@pytest.mark.parametrize("header", [None, "soon", "-1"])
def test_pauses_grow_and_are_jittered(header: str | None) -> None:
    for attempt in range(1, 10):
        most = min(client_module.PAUSE_S * 2 ** (attempt - 1), client_module.MAX_PAUSE_S)
        assert most / 2 <= pause_s(attempt, header) <= most
