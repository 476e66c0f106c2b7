"""The listener: keep-alive, chunks, TLS with and without client certificates."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgectl.emulation import Authority, WebServer


def echo(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    said = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {len(body)}"
    certificate = "SSL_CLIENT_CERT" in environ
    start_response("200 OK", [("X-Said", said), ("X-Certificate", str(certificate))])
    return [body]


@pytest.fixture
def server() -> Iterator[WebServer]:
    running = WebServer(echo)
    running.start()
    yield running
    running.stop()


def test_one_connection_serves_many_requests(server: WebServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for number in range(3):
        connection.request("PUT", f"/a%2Fb?n={number}", body=b"x" * number)
        answer = connection.getresponse()
        assert answer.headers["X-Said"] == f"PUT /a%2Fb?n={number} {number}"
        assert answer.read() == b"x" * number
        socket_then = connection.sock
    assert connection.sock is socket_then
    connection.close()


def test_a_chunked_body_is_put_together(server: WebServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request(
        "POST",
        "/",
        body=iter([b"ab", b"cde"]),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    assert connection.getresponse().read() == b"abcde"
    connection.close()


def test_a_head_request_gets_no_body(server: WebServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("HEAD", "/")
    assert connection.getresponse().read() == b""
    connection.request("GET", "/again")
    assert connection.getresponse().headers["X-Said"] == "GET /again 0"
    connection.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnothex\r\n",
        b"\x16\x03\x01\x00\x00",
    ],
)
def test_a_broken_request_ends_its_connection_and_no_other(
    server: WebServer, request_: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as broken:
        broken.sendall(request_)
        broken.shutdown(socket.SHUT_WR)
        while broken.recv(4096):
            pass
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()


def test_tls_asks_for_a_client_certificate_and_does_not_demand_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = WebServer(echo, tls=authority.server_context(("localhost", "127.0.0.1"), demand=False))
    server.start()
    try:
        assert _certificate_seen(server, authority.ca_file, None) == "False"
        assert _certificate_seen(server, authority.ca_file, _device(authority, tmp_path)) == "True"
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as silent:
            # somebody who never shakes hands holds up nobody
            assert _certificate_seen(server, authority.ca_file, None) == "False"
            silent.close()
    finally:
        server.stop()


def test_the_ca_outlives_a_restart(tmp_path: Path) -> None:
    first = Authority(tmp_path).ca_file.read_bytes()
    assert Authority(tmp_path).ca_file.read_bytes() == first
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


def _device(authority: Authority, folder: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate, private = folder / "device.pem", folder / "device.key"
    certificate.write_text(authority.sign(key.public_key()))
    private.write_bytes(pem)
    return str(certificate), str(private)


def _certificate_seen(server: WebServer, ca: Path, device: tuple[str, str] | None) -> str:
    context = ssl.create_default_context(cafile=ca)
    if device is not None:
        context.load_cert_chain(*device)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context)
    connection.request("GET", "/")
    found = connection.getresponse().headers["X-Certificate"]
    connection.close()
    return str(found)
