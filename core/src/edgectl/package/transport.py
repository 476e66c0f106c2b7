"""HTTP to one registry: credentials, redirects, bounded retries, and errors that people can act on.

Rules kept here: credentials go to the registry's own host only, never along a redirect to another;
plain HTTP is spoken to this machine or where the user said so; 429, 5xx and broken connections are
tried again a few times with growing pauses, everything else is an error at once.
"""

from __future__ import annotations

import contextlib
import random
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from edgectl.errors import RegistryError
from edgectl.package.challenge import TokenRequest, parse_challenge, parse_token, token_request
from edgectl.package.credentials import find_credentials
from edgectl.package.failures import TransientError, failure, refusal
from edgectl.package.reference import Reference

T = TypeVar("T")
Response = urllib3.BaseHTTPResponse
Body = bytes | Callable[[], BinaryIO] | None

_MAX_REDIRECTS = 5
_BLOCK_BYTES = 1 << 18
_MAX_TOKEN_BYTES = 1 << 20
_MAX_DRAINED_BYTES = 64 << 10


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long a request is tried again.

    Attributes:
        attempts: How often a request is made at most.
        first_pause_s: The pause before the second attempt; it doubles from there.
        max_pause_s: No pause is longer, also where the registry asks for more.
    """

    attempts: int = 5
    first_pause_s: float = 0.5
    max_pause_s: float = 30.0

    def pause_s(self, attempt: int, retry_after: str, chance: float) -> float:
        """Return the pause after a failed attempt.

        Args:
            attempt: Its number, from 1.
            retry_after: The answer's ``Retry-After`` header, or "".
            chance: A random number from 0 to 1, which spreads clients apart.
        """
        grown = self.first_pause_s * 2.0 ** (attempt - 1) * (0.5 + chance / 2)
        asked = float(retry_after) if retry_after.isdecimal() else 0.0
        return min(max(grown, asked), self.max_pause_s)


class Transport:
    """Requests to one repository of one registry.

    Args:
        reference: Which registry and repository.
        insecure: Speak plain HTTP to a registry that is not on this machine.
        actions: What the token has to allow: ``pull`` or ``pull,push``.
        policy: How often to try again.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        insecure: bool = False,
        actions: str = "pull",
        policy: RetryPolicy | None = None,
    ) -> None:
        self._plain_http = insecure or reference.is_loopback
        self._reference = reference
        self._scope = f"repository:{reference.repository}:{actions}"
        self.policy = policy or RetryPolicy()
        self._authorization = ""
        self._answered = False
        self._name = f"the registry '{reference.host}' (repository '{reference.repository}')"
        self.base = f"{'http' if self._plain_http else 'https'}://{reference.host}/v2/"
        self._pool = _make_pool(self.base)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        accept: frozenset[int] = frozenset({200}),
        retry: bool = True,
    ) -> Iterator[Response]:
        """Make a request and give its answer, whose body is not read yet.

        Args:
            method: The HTTP method.
            path: Relative to ``/v2/``, or an absolute URL that the registry gave.
            headers: More headers; a streamed body needs ``Content-Length`` here.
            body: The content, or a function that opens it, again for each attempt.
            accept: Statuses that are no error.
            retry: Whether the same request may simply be made again.

        Raises:
            TransientError: The registry was busy, or the connection broke.
            RegistryError: Any other status, or no answer.
        """
        url = urljoin(self.base, path)

        def once() -> Response:
            return self._accepted(method, url, dict(headers or {}), body, accept)

        response = self.repeat(once) if retry else once()
        try:
            yield response
        except HTTPError as exc:
            raise failure(self._name, exc, answered=self._answered) from exc
        finally:
            _finish(response)

    def repeat(self, action: Callable[[], T]) -> T:
        """Do something, and again as long as it fails for a passing reason and attempts last.

        Raises:
            RegistryError: What the last attempt failed with.
        """
        for attempt in range(1, self.policy.attempts):
            try:
                return action()
            except TransientError as exc:
                self.pause(attempt, exc.retry_after)
        return action()

    def pause(self, attempt: int, retry_after: str = "") -> None:
        """Wait before the next attempt."""
        chance = random.random()  # noqa: S311 - spreads clients, guards nothing
        time.sleep(self.policy.pause_s(attempt, retry_after, chance))

    def _accepted(
        self, method: str, url: str, headers: dict[str, str], body: Body, accept: frozenset[int]
    ) -> Response:
        try:
            response = self._follow(method, url, headers, body)
            self._answered = True
            if response.status == 401 and self._authenticate(response):
                response = self._follow(method, url, headers, body)
        except HTTPError as exc:
            raise failure(self._name, exc, answered=self._answered) from exc
        if response.status in accept:
            return response
        try:
            raise refusal(self._name, method, response)
        finally:
            _finish(response)

    def _follow(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Body,
    ) -> Response:
        for _ in range(_MAX_REDIRECTS):
            response = self._send(method, url, headers, body)
            location = response.headers.get("Location", "")
            if response.status not in {301, 302, 303, 307, 308} or not location:
                return response
            _finish(response)
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ({"https", "http"} if self._plain_http else {"https"}):
                raise RegistryError(f"{self._name} redirects to '{url[:200]}', which is not safe")
        raise RegistryError(f"{self._name} redirects in a circle")

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Body,
    ) -> Response:
        sent = {"User-Agent": "edgectl", "Accept-Encoding": "identity", **headers}
        if self._authorization and _origin(url) == _origin(self.base):
            sent["Authorization"] = self._authorization
        with contextlib.ExitStack() as stack:
            content = stack.enter_context(body()) if callable(body) else body
            return self._pool.request(
                method, url, body=content, headers=sent, redirect=False, preload_content=False
            )

    def _authenticate(self, response: Response) -> bool:
        """Get what a 401 asks for; say whether there is something new to try."""
        try:
            authorization = self._authorization_for(response.headers.get("WWW-Authenticate", ""))
        except BaseException:
            response.close()
            raise
        if authorization:
            self._authorization = authorization
            _finish(response)
        return bool(authorization)

    def _authorization_for(self, header: str) -> str:
        challenge = parse_challenge(header)
        credentials = find_credentials(self._reference.host)
        if challenge.scheme == "bearer":
            wanted = token_request(
                challenge, credentials, scope=self._scope, plain_http=self._plain_http
            )
            return f"Bearer {self._fetch_token(wanted)}"
        if challenge.scheme == "basic" and credentials and not credentials.identity_token:
            return credentials.basic
        return ""

    def _fetch_token(self, wanted: TokenRequest) -> str:
        answer = self._pool.request(
            wanted.method,
            wanted.url,
            body=wanted.body,
            headers=wanted.headers,
            redirect=False,
            preload_content=False,
        )
        with contextlib.closing(answer):
            if answer.status != 200:
                raise refusal(self._name, "token", answer)
            return parse_token(answer.read(_MAX_TOKEN_BYTES, decode_content=True))


def _finish(response: Response) -> None:
    """Give the connection back for the next request if what is left to read is little."""
    left = response.length_remaining
    if left is not None and left <= _MAX_DRAINED_BYTES:
        response.drain_conn()
    response.close()


def _make_pool(base: str) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=10, read=60)
    address = urlsplit(base)
    context = ssl.create_default_context()
    proxy = urllib.request.getproxies().get(address.scheme, "")
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        return urllib3.ProxyManager(
            proxy, timeout=timeout, retries=False, blocksize=_BLOCK_BYTES, ssl_context=context
        )
    return urllib3.PoolManager(
        timeout=timeout, retries=False, blocksize=_BLOCK_BYTES, ssl_context=context
    )


def _origin(url: str) -> tuple[str, str]:
    address = urlsplit(url)
    return address.scheme, address.netloc.rpartition("@")[2]
