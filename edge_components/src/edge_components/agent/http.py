"""HTTP to the hub: one pool, TLS verified, bounded answers, errors of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec
import urllib3

from edge_components.contract.device import HubSection
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json

T = TypeVar("T")

MAX_ANSWER_BYTES = 4 << 20
_TRANSIENT = {401, 403, 408, 425, 429, 500, 502, 503, 504}
_JSON = "application/json"
_ACCEPT = "application/json, application/hal+json;q=0.9"


class HubError(Exception):
    """The hub cannot be reached, or refuses.

    Attributes:
        status: The HTTP status, or 0 when there was no answer.
        retry_after_s: How long the hub asks to be left alone.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def is_final(self) -> bool:
        """Whether asking again cannot help. A refused token can be put right, so it is not."""
        return 400 <= self.status < 500 and self.status not in _TRANSIENT


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long the network may be silent."""

    connect_s: float = 10.0
    read_s: float = 30.0


class HubHttp:
    """Requests to the hub as this device.

    Args:
        hub: Address, token and certificates.
        timeouts: How long the network may be silent.
        agent: What the device calls itself.
    """

    def __init__(self, hub: HubSection, *, timeouts: Timeouts, agent: str) -> None:
        self._base = hub.url.rstrip("/") + "/"
        self._origin = _origin(self._base)
        self._token = hub.token
        self._agent = agent
        self._pool = urllib3.PoolManager(
            num_pools=2,
            maxsize=2,
            retries=False,
            timeout=urllib3.Timeout(connect=timeouts.connect_s, read=timeouts.read_s),
            cert_reqs="CERT_REQUIRED",
            ca_certs=hub.ca or None,
            cert_file=hub.certificate or None,
            key_file=hub.key or None,
        )

    def resolve(self, href: str) -> str:
        """Return the absolute address of a link that the hub gave."""
        return urljoin(self._base, href)

    def get_json(self, href: str, type_: type[T], *, what: str) -> T:
        """Read a document; raises ``HubError``."""
        body = self._exchange("GET", href, None, what)
        try:
            return decode_json(body, type_, what=what, max_bytes=MAX_ANSWER_BYTES)
        except ContractError as exc:
            raise HubError(f"{what}: {exc}") from exc

    def send_json(self, method: str, href: str, body: Any, *, what: str) -> None:
        """Send a document; raises ``HubError``."""
        self._exchange(method, href, msgspec.json.encode(body), what)

    def open(self, href: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Begin a download; the caller reads the body and releases the connection.

        Raises:
            HubError: There was no answer.
        """
        address = self.resolve(href)
        try:
            return self._pool.request(
                "GET",
                address,
                headers={**self._headers(address), "Accept-Encoding": "identity", **headers},
                preload_content=False,
                redirect=True,
                retries=urllib3.Retry(total=3, connect=0, read=0, status=0, other=0, redirect=3),
            )
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise HubError(f"'{address}' cannot be reached: {exc}") from exc

    def refusal(self, response: urllib3.BaseHTTPResponse, what: str) -> HubError:
        """Return the error for an answer that is not a success."""
        return refusal(response, what)

    def close(self) -> None:
        """Close the pooled connections."""
        self._pool.clear()

    def _headers(self, address: str) -> dict[str, str]:
        headers = {"User-Agent": self._agent}
        # A link may point at a content server: the device's token is for the hub alone.
        if self._token and _origin(address) == self._origin:
            headers["Authorization"] = f"TargetToken {self._token}"
        return headers

    def _exchange(self, method: str, href: str, body: bytes | None, what: str) -> bytes:
        address = self.resolve(href)
        headers = {**self._headers(address), "Accept": _ACCEPT}
        if body is not None:
            headers["Content-Type"] = _JSON
        try:
            response = self._pool.request(
                method, address, headers=headers, body=body, preload_content=False, redirect=False
            )
            try:
                data = response.read(MAX_ANSWER_BYTES + 1, decode_content=True)
            finally:
                response.drain_conn() if response.status < 300 else response.close()
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise HubError(f"{what}: '{address}' cannot be reached: {exc}") from exc
        if not 200 <= response.status < 300:
            raise refusal(response, what)
        return data


def refusal(response: urllib3.BaseHTTPResponse, what: str) -> HubError:
    """Return the error for an answer that is not a success."""
    after = response.headers.get("Retry-After", "")
    return HubError(
        f"{what}: the hub answered {response.status}",
        status=response.status,
        retry_after_s=float(after[:6]) if after.isascii() and after.isdigit() else 0.0,
    )


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default
