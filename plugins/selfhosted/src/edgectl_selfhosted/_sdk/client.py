"""One connection to a server: credentials, retries, and errors in edgectl's words.

What is tried again, at most ``MAX_ATTEMPTS`` times with growing, jittered pauses: a connection
that could not be made and a 429 (nothing happened yet, so any call), and a 502, 503, 504 or a
broken answer for calls that may be repeated (GET, PUT, DELETE). A refused certificate, an unknown
host and a quota are final at once.
"""

from __future__ import annotations

import functools
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from edgectl.api import AuthError, ProviderError, decoder
from edgectl_selfhosted._sdk.wire import Page
from edgectl_selfhosted.config import SelfhostedConfig, in_project
from edgectl_selfhosted.errors import (
    WRONG_SERVER_HINT,
    from_refusal,
    from_transport,
    is_quota,
    parse_refusal,
)

T = TypeVar("T")
Params = Mapping[str, str | int | bool]

MAX_ATTEMPTS = 5
PAUSE_S = 0.25
MAX_PAUSE_S = 5.0
MAX_RETRY_AFTER_S = 30.0
PAGE = 500
UPLOAD_ANSWER_S = 600.0
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_PASSING = frozenset({502, 503, 504})
_FINAL_PROBLEMS = ("certificate", "ssl", "name or service", "nodename", "no address", "getaddr")


class Client:
    """A server of hawkBit's management API, or of anything else that speaks HTTP.

    Args:
        config: Credentials, trust and patience.
        project_dir: Where relative paths of the configuration begin.
        server: The base address; the configuration's ``url`` if it is not given.
    """

    def __init__(
        self, config: SelfhostedConfig, project_dir: Path, *, server: str | None = None
    ) -> None:
        self.server = server or config.server
        self.server_time = time.time()
        self._http = httpx.Client(
            base_url=self.server,
            auth=_basic(config, project_dir),
            headers=_headers(config, project_dir),
            timeout=config.timeout_s,
            verify=_trust(self.server, config, project_dir),
        )

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, what: str, path: str, kind: type[T], params: Params | None = None) -> T:
        """Read something.

        Args:
            what: What is being done, to stand after "cannot" in an error.
            path: Below the server's address.
            kind: The answer's type.
            params: The query.

        Raises:
            ProviderError: A subclass that says what the server or the connection said.
        """
        response = self._send(what, "GET", path, params=dict(params or {}))
        return self._decoded(what, response, kind)

    def fetch(self, what: str, path: str) -> bytes:
        """Read a small file as it is.

        Raises:
            ProviderError: A subclass that says what the server or the connection said.
        """
        headers = {"Accept": "application/octet-stream"}
        send = functools.partial(self._http.request, "GET", path, headers=headers)
        return self._attempts(what, "GET", send).content

    def pages(
        self, what: str, path: str, kind: type[T], params: Params | None = None
    ) -> Iterator[T]:
        """Yield everything that a list has, ``PAGE`` at a time.

        Raises:
            ProviderError: A subclass that says what the server or the connection said.
        """
        offset = 0
        while True:
            page = self.page(what, path, kind, {**(params or {}), "offset": offset})
            yield from page.content
            offset += len(page.content)
            if not page.content or offset >= page.total:
                return

    def page(self, what: str, path: str, kind: type[T], params: Params | None = None) -> Page[T]:
        """Read one page of a list.

        Raises:
            ProviderError: A subclass that says what the server or the connection said.
        """
        query = {"limit": PAGE, **(params or {})}
        # A generic struct is parametrized at run time; mypy wants a static argument.
        page_type: type[Page[T]] = Page[kind]  # type: ignore[valid-type]
        return self.get(what, path, page_type, query)

    def post(self, what: str, path: str, kind: type[T], body: object) -> T:
        """Create something, or have something done; never repeated once it was received.

        Raises:
            ProviderError: A subclass that says what the server or the connection said.
        """
        return self._decoded(what, self._send(what, "POST", path, body=body), kind)

    def command(
        self,
        what: str,
        method: str,
        path: str,
        *,
        body: object | None = None,
        params: Params | None = None,
    ) -> None:
        """Have something done whose answer does not matter.

        Raises:
            ProviderError: A subclass that says what the server or the connection said.
        """
        self._send(what, method, path, body=body, params=dict(params or {}))

    def upload(
        self,
        what: str,
        path: str,
        kind: type[T],
        *,
        name: str,
        open_content: Callable[[], Any],
        params: Params,
    ) -> T:
        """Send a file as multipart ``file``; it is streamed, never held in memory.

        Raises:
            ProviderError: A subclass that says what the server or the connection said.
        """

        def send() -> httpx.Response:
            with open_content() as content:
                return self._http.post(
                    path,
                    params=dict(params),
                    files={"file": (name, content, "application/octet-stream")},
                    timeout=httpx.Timeout(self._http.timeout.connect, read=UPLOAD_ANSWER_S),
                )

        return self._decoded(what, self._attempts(what, "POST", send), kind)

    def probe(self, path: str = "") -> int:
        """Return the status that a GET without credentials gets; "" is the address itself.

        Raises:
            UnreachableError: There was no answer.
        """
        request = self._http.build_request("GET", self.server + path)
        request.headers.pop("Authorization", None)
        try:
            return self._http.send(request, auth=None).status_code
        except httpx.HTTPError as exc:
            raise from_transport(f"read '{self.server}{path}'", self.server, _problem(exc)) from exc

    def _send(
        self,
        what: str,
        method: str,
        path: str,
        *,
        body: object | None = None,
        params: dict[str, Any] | None = None,
    ) -> httpx.Response:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}

        def send() -> httpx.Response:
            return self._http.request(
                method, path, params=params or None, content=content, headers=headers
            )

        return self._attempts(what, method, send)

    def _attempts(
        self, what: str, method: str, send: Callable[[], httpx.Response]
    ) -> httpx.Response:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            last = attempt == MAX_ATTEMPTS
            try:
                response = send()
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                if last or not _may_repeat(method, exc):
                    raise from_transport(what, self.server, _problem(exc)) from exc
                time.sleep(pause_s(attempt, None))
                continue
            if response.is_success:
                self._read_clock(response)
                return response
            info = parse_refusal(response.content)
            passing = response.status_code == 429 or (
                response.status_code in _PASSING and method in _REPEATABLE
            )
            if last or not passing or is_quota(info):
                raise self._refusal(what, response)
            time.sleep(pause_s(attempt, response.headers.get("Retry-After")))
        raise AssertionError("the last attempt returns or raises")

    def _refusal(self, what: str, response: httpx.Response) -> ProviderError:
        if response.is_redirect:
            where = response.headers.get("Location", "")
            return ProviderError(
                f"cannot {what}: '{self.server}' sends to '{where}'",
                hint="give the address that it sends to as `url` of providers.selfhosted",
                vendor_code=str(response.status_code),
            )
        return from_refusal(what, response.status_code, parse_refusal(response.content))

    def _decoded(self, what: str, response: httpx.Response, kind: type[T]) -> T:
        try:
            return decoder(kind).decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ProviderError(
                f"cannot {what}: '{self.server}' does not answer as a hawkBit server: {exc}",
                hint=WRONG_SERVER_HINT,
            ) from exc

    def _read_clock(self, response: httpx.Response) -> None:
        """Keep the server's clock, so that ages do not depend on the operator's."""
        try:
            self.server_time = parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, ValueError):
            self.server_time = time.time()


def pause_s(attempt: int, retry_after: str | None) -> float:
    """Return how long to wait after a failed attempt (1 is the first).

    A server's ``Retry-After`` in seconds is kept to, up to ``MAX_RETRY_AFTER_S``.
    """
    if retry_after is not None and retry_after.strip().isdigit():
        return min(float(retry_after), MAX_RETRY_AFTER_S)
    most: float = min(PAUSE_S * 2 ** (attempt - 1), MAX_PAUSE_S)
    return most * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def _may_repeat(method: str, exc: Exception) -> bool:
    if isinstance(exc, (httpx.ConnectError, httpx.ConnectTimeout)):
        problem = _problem(exc).lower()
        return not any(word in problem for word in _FINAL_PROBLEMS)
    broken = (httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError)
    return method in _REPEATABLE and isinstance(exc, broken)


def _problem(exc: Exception) -> str:
    if isinstance(exc, httpx.TimeoutException):
        return "timed out"
    return str(exc) or type(exc).__name__


def _basic(config: SelfhostedConfig, project_dir: Path) -> httpx.BasicAuth | None:
    if not config.username:
        return None
    password = config.password or _secret("password_file", config.password_file, project_dir)
    return httpx.BasicAuth(config.login.encode(), password.encode())


def _headers(config: SelfhostedConfig, project_dir: Path) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": "edgectl-selfhosted"}
    if config.token or config.token_file:
        token = config.token or _secret("token_file", config.token_file, project_dir)
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _secret(key: str, path: str, project_dir: Path) -> str:
    if not path:
        return ""
    where = in_project(path, project_dir)
    try:
        return where.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it has no text"
        raise AuthError(
            f"cannot read `{key}` '{where}': {why}",
            hint="the hub writes its password file at its first start (`edgectl hub`)",
        ) from exc


def _trust(server: str, config: SelfhostedConfig, project_dir: Path) -> ssl.SSLContext:
    if urlsplit(server).scheme == "http":
        # Never used, and loading the system's authorities takes longer than a whole call.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not config.ca:
        return ssl.create_default_context()
    where = in_project(config.ca, project_dir)
    try:
        return ssl.create_default_context(cafile=str(where))
    except (OSError, ssl.SSLError) as exc:
        raise AuthError(
            f"cannot read `ca` '{where}': {exc}", hint="it has to be a file of PEM certificates"
        ) from exc
