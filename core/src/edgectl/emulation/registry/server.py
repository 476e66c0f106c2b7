"""The registry on a socket: threads, TLS, bodies that stream to and from the disk, faults.

Beside the registry's own routes it has ``/oauth2/token`` and ``/oauth2/exchange`` of its token
service, and ``/_edgectl/faults`` and ``/_edgectl/requests`` for tests in other processes.
"""

from __future__ import annotations

import ssl
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from edgectl.emulation.listening import ThreadedServer
from edgectl.emulation.registry.access import Access, dump, parse_basic
from edgectl.emulation.registry.answers import Answer, Asked, Content
from edgectl.emulation.registry.errors import RefusedError
from edgectl.emulation.registry.faults import RegistryFault, RegistryFaults
from edgectl.emulation.registry.routes import TOKEN_PATH, Routes
from edgectl.emulation.registry.storage import Storage

_BLOCK_BYTES = 1 << 18
_MAX_FORM_BYTES = 64 << 10
_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}


class RegistryServer(ThreadedServer):
    """A registry. ``start`` serves on a thread of its own, ``stop`` ends it; also a context.

    Args:
        folder: Where its content lies; made if it is not there.
        host: Address to bind.
        port: 0 takes a free one.
        tls: A server-side context; None speaks plain HTTP.
        access: Who may do what; None lets everybody do everything.
        name: The host name in its address, for a certificate that has a name.
        page_size: How many tags go on a page at most.
        referrers_api: False for a registry of before distribution-spec 1.1.
        delete: Whether content can be deleted.

    Attributes:
        faults: What is to go wrong.
        requests: How often was asked for what: (method, path, status) → times.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        access: Access | None = None,
        name: str = "",
        page_size: int = 1000,
        referrers_api: bool = True,
        delete: bool = True,
    ) -> None:
        self.faults = RegistryFaults()
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.access = access or Access()
        self.routes = Routes(
            Storage(folder),
            self.access,
            page_size=page_size,
            referrers_api=referrers_api,
            delete=delete,
        )
        self._name = name or host
        super().__init__(_Handler, host=host, port=port, tls=tls)

    @property
    def host(self) -> str:
        """``host:port``, as references to images begin."""
        return f"{self._name}:{self.port}"

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def count(self, method: str, path: str, status: int) -> None:
        """Count a request that was answered."""
        with self._lock:
            self.requests[method, path, status] += 1

    def counted(self) -> list[tuple[str, str, int, int]]:
        """Return method, path, status and times of what was asked."""
        with self._lock:
            return [(*key, times) for key, times in self.requests.items()]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away or cannot shake hands; print a defect of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class _CutError(ConnectionError):
    """The connection is cut on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "edgectl-registry"
    server: RegistryServer
    _left = 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Print nothing; what was asked is counted."""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self._read_done = False
        asked = self._asked()
        answer, fault = self._answered(asked)
        self._drain()
        self.server.count(asked.method, asked.path, answer.status)
        self._send(answer, fault)

    def _asked(self) -> Asked:
        address = urlsplit(self.path)
        query = parse_qs(address.query, keep_blank_values=True)
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        host = self.headers.get("Host") or self.server.host
        return Asked(
            method=self.command,
            path=unquote(address.path),
            query={name: values[0] for name, values in query.items()},
            headers={
                name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers
            },
            url=f"{scheme}://{host}",
        )

    def _answered(self, asked: Asked) -> tuple[Answer, RegistryFault | None]:
        fault = None
        try:
            if asked.path.startswith("/_edgectl/"):
                return self._control(asked), None
            fault = self.server.faults.next(asked.method, asked.path)
            if fault is not None and fault.status:
                raise _refusal(fault, asked)
            return self._routed(asked), fault
        except RefusedError as error:
            headers = {"Content-Type": "application/json", **error.headers}
            return Answer(error.status, headers, error.body()), fault

    def _routed(self, asked: Asked) -> Answer:
        if asked.path == TOKEN_PATH:
            return self._token(asked)
        if asked.path == "/oauth2/exchange" and asked.method == "POST":
            form = self._form()
            return _json(self.server.access.exchange(form.get("access_token", [""])[0]))
        if asked.path == "/v2":
            return Answer(301, {"Location": "/v2/"})
        if not asked.path.startswith("/v2/"):
            return Answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        answer = self.server.routes.answer(asked, self._body)
        versioned = {"Docker-Distribution-Api-Version": "registry/2.0", **answer.headers}
        return answer._replace(headers=versioned)

    def _token(self, asked: Asked) -> Answer:
        access = self.server.access
        if asked.method != "POST":
            query = parse_qs(urlsplit(self.path).query)
            username, password = parse_basic(asked.headers.get("authorization", ""))
            return _json(access.token(username, password, query.get("scope", [])))
        form = self._form()
        scopes = form.get("scope", [])
        if form.get("grant_type") == ["refresh_token"]:
            return _json(access.refresh(form.get("refresh_token", [""])[0], scopes))
        if form.get("grant_type") == ["password"]:
            who = (form.get("username", [""])[0], form.get("password", [""])[0])
            return _json(access.token(*who, scopes))
        raise RefusedError("UNSUPPORTED", "the grant_type is unsupported", status=400)

    def _control(self, asked: Asked) -> Answer:
        what = (asked.method, asked.path.removeprefix("/_edgectl/"))
        if what == ("POST", "faults"):
            data = b"".join(self._body())
            try:
                self.server.faults.add(msgspec.json.decode(data, type=RegistryFault))
            except msgspec.DecodeError as exc:
                raise RefusedError("UNSUPPORTED", str(exc), status=400) from exc
            return _json({})
        if what == ("DELETE", "faults"):
            self.server.faults.clear()
            return _json({})
        if what == ("GET", "requests"):
            return _json({"requests": self.server.counted()})
        raise RefusedError("NAME_UNKNOWN", "there is no such control route")

    def _form(self) -> dict[str, list[str]]:
        data = b"".join(self._body())
        if len(data) > _MAX_FORM_BYTES:
            raise RefusedError("UNSUPPORTED", "the form is too large", status=413)
        return parse_qs(data.decode("latin-1"), keep_blank_values=True)

    def _body(self) -> Iterator[bytes]:
        self._read_done = True
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            yield from self._chunks()
            return
        text = self.headers.get("Content-Length") or "0"
        if not text.isdecimal():
            raise RefusedError("SIZE_INVALID", f"'{text}' is no length")
        yield from self._exactly(int(text))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(1024).split(b";")[0], 16):
            yield from self._exactly(size)
            self.rfile.readline(8)
        while self.rfile.readline(65_537).strip():
            pass

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            part = self.rfile.read(min(size, _BLOCK_BYTES))
            if not part:
                raise _CutError("the client went away")
            size -= len(part)
            yield part

    def _drain(self) -> None:
        """Read a body that nobody wanted, or the next request begins within it."""
        if not self._read_done:
            for _part in self._body():
                pass

    def _send(self, answer: Answer, fault: RegistryFault | None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        if self.command != "HEAD" and answer.status != 204:
            for part in _faulty(_parts(answer.body), fault):
                self.wfile.write(part)
        self.wfile.flush()


def _parts(body: bytes | Content) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    left = body.end - body.begin
    with body.file.open("rb") as file:
        file.seek(body.begin)
        while left and (part := file.read(min(left, _BLOCK_BYTES))):
            left -= len(part)
            yield part


def _faulty(parts: Iterable[bytes], fault: RegistryFault | None) -> Iterator[bytes]:
    """Give what a fault leaves of a body, and cut the connection where it says so."""
    left = fault.cut_after if fault is not None else -1
    corrupt = fault is not None and fault.corrupt
    for part in parts:
        sent = bytes([part[0] ^ 0xFF]) + part[1:] if corrupt and part else part
        corrupt = False
        if left < 0:
            yield sent
        elif len(sent) > left:
            yield sent[:left]
            raise _CutError("cut on purpose")
        else:
            left -= len(sent)
            yield sent


def _refusal(fault: RegistryFault, asked: Asked) -> RefusedError:
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    if fault.status == 401:
        headers["WWW-Authenticate"] = f'Bearer realm="{asked.url}{TOKEN_PATH}",service="registry"'
    code = _CODES.get(fault.status, "UNKNOWN")
    return RefusedError(code, "a fault that was asked for", status=fault.status, headers=headers)


def _json(document: dict[str, Any]) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, dump(document))
