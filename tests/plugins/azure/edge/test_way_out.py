"""What modules fetch goes through the device, which may be cut off."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from edgectl.emulation import Authority
from edgectl_azure_iot_edge.emulator.edge.faults import DeviceFaults, FaultFile, write_faults
from edgectl_azure_iot_edge.emulator.edge.state import Kept
from edgectl_azure_iot_edge.emulator.edge.wayout import WayOut

BODY = b"x" * 400_000


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers['Host']}".encode() if "?" in self.path else BODY
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        del request, client_address


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[str]:
    found = Server(("127.0.0.1", 0), _Handler)
    if request.param == "https":
        context = authority.server_context(("localhost",), demand=False)
        context.verify_mode = ssl.CERT_NONE
        found.socket = context.wrap_socket(found.socket, server_side=True)
    threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
    yield f"{request.param}://localhost:{found.server_address[1]}"
    found.shutdown()
    found.server_close()


@pytest.fixture
def way_out(tmp_path: Path) -> Iterator[WayOut]:
    found = WayOut(FaultFile(tmp_path), Kept(tmp_path / "state"), "127.0.0.1", ("device",))
    yield found
    found.close()


def fetch(way_out: WayOut, authority: Authority, url: str) -> bytes:
    proxy = way_out.variables["HTTPS_PROXY"]
    with urllib3.ProxyManager(proxy, ca_certs=str(authority.ca_file), retries=False) as pool:
        answer = pool.request("GET", url)
        if answer.status != 200:
            raise urllib3.exceptions.HTTPError(str(answer.status))
        return answer.data


def test_a_request_passes_whole(way_out: WayOut, authority: Authority, server: str) -> None:
    host = server.partition("//")[2]
    assert fetch(way_out, authority, f"{server}/a?b=1").decode() == f"/a?b=1 {host}"
    assert fetch(way_out, authority, f"{server}/") == BODY


def test_a_cut_network_lets_nothing_pass(
    way_out: WayOut, authority: Authority, server: str, tmp_path: Path
) -> None:
    write_faults(tmp_path, DeviceFaults(network_cut=True))
    with pytest.raises(urllib3.exceptions.HTTPError):
        fetch(way_out, authority, f"{server}/")
    write_faults(tmp_path, DeviceFaults())
    assert fetch(way_out, authority, f"{server}/") == BODY


def test_a_network_that_is_cut_ends_what_is_on_its_way(
    way_out: WayOut, authority: Authority, server: str, tmp_path: Path
) -> None:
    write_faults(tmp_path, DeviceFaults(link_bytes_per_s=20_000))
    cut = threading.Timer(0.3, write_faults, (tmp_path, DeviceFaults(network_cut=True)))
    cut.start()
    with pytest.raises((urllib3.exceptions.HTTPError, http.client.HTTPException)):
        fetch(way_out, authority, f"{server}/")
    cut.join()


def test_what_is_on_the_device_goes_past_it(way_out: WayOut) -> None:
    assert way_out.variables["no_proxy"].split(",") == ["127.0.0.1", "127.0.0.1", "device"]
