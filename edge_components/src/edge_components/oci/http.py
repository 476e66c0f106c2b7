"""HTTP to one repository of a registry: who we are, redirects, and errors of one kind.

Credentials go to the registry's own host only, never along a redirect; a redirect never leads from
TLS to plain HTTP. What a registry refuses for good (401 with our credentials, 403, 404) is not
asked for again; what passes (429, 5xx, a cut connection) is.
"""

from __future__ import annotations

import ssl
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import msgspec
import urllib3

import edge_components
from edge_components.agent.http import HubError, Timeouts
from edge_components.contract.errors import ContractError
from edge_components.contract.package import MANIFEST_TYPE
from edge_components.oci.challenge import (
    MAX_TOKEN_BYTES,
    parse_challenge,
    parse_token,
    token_request,
)
from edge_components.oci.credentials import read_credentials
from edge_components.oci.reference import Repository

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429})


class RegistryError(HubError):
    """The registry cannot be reached, or refuses."""

    @property
    def is_final(self) -> bool:
        """Whether asking again cannot help."""
        return 400 <= self.status < 500 and self.status not in _PASSING


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How this device may speak to a registry.

    Attributes:
        auth_file: A file of the form of docker's ``config.json``, or None for nobody.
        ca_file: The authorities to trust (PEM), or None for the system's.
        plain_http: Speak plain HTTP to a registry that is not on this machine.
        timeouts: How long the network may be silent.
    """

    auth_file: Path | None = None
    ca_file: Path | None = None
    plain_http: bool = False
    timeouts: Timeouts = Timeouts()


class RegistryHttp:
    """GET requests to one repository; any thread may call.

    Args:
        repository: Which.
        access: How to speak to it.

    Raises:
        ContractError: ``bad-config``: the authorities cannot be read.
    """

    def __init__(self, repository: Repository, access: Access) -> None:
        self._repository = repository
        self._access = access
        self._is_plain = access.plain_http or (repository.is_loopback and access.ca_file is None)
        scheme = "http" if self._is_plain else "https"
        self._base = f"{scheme}://{repository.host}/v2/{repository.name}/"
        self._origin = f"{scheme}://{repository.host}"
        self._pool = _make_pool(self._base, access)
        self._lock = threading.Lock()
        self._authorization = ""

    def open(self, href: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Begin to answer a GET, whatever its status.

        Args:
            href: Relative to the repository, for example ``blobs/sha256:…``.
            headers: More headers.

        Raises:
            RegistryError: There was no answer, or no way to say who we are.
        """
        sent = self._authorization
        response = self._follow(href, headers)
        if response.status == 401 and self._authenticate(response, sent):
            response = self._follow(href, headers)
        return response

    def refusal(self, response: urllib3.BaseHTTPResponse, what: str) -> RegistryError:
        """Return the error for an answer that is not a success."""
        after = response.headers.get("Retry-After", "")
        return RegistryError(
            f"{what}: the registry answered {response.status} for '{self._repository}'",
            status=response.status,
            retry_after_s=float(after[:6]) if after.isascii() and after.isdigit() else 0.0,
        )

    def close(self) -> None:
        """Close the pooled connections."""
        self._pool.clear()

    def _follow(self, href: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        url = urljoin(self._base, href)
        for _ in range(_MAX_REDIRECTS):
            response = self._send(url, headers)
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not location:
                return response
            response.close()
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ({"https", "http"} if self._is_plain else {"https"}):
                raise RegistryError(f"'{self._repository}' redirects to an address without TLS")
        raise RegistryError(f"'{self._repository}' redirects in a circle")

    def _send(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        sent = {
            "User-Agent": f"edgectl-edge-components/{edge_components.__version__}",
            "Accept": f"{MANIFEST_TYPE}, {INDEX_TYPE}, */*;q=0.1",
            "Accept-Encoding": "identity",
            **headers,
        }
        if self._authorization and _origin(url) == self._origin:
            sent["Authorization"] = self._authorization
        return self._request("GET", url, sent, None)

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(
                method, url, headers=headers, body=body, redirect=False, preload_content=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise RegistryError(f"'{_origin(url)}' cannot be reached: {exc}") from exc

    def _authenticate(self, response: urllib3.BaseHTTPResponse, sent: str) -> bool:
        """Get what a 401 asks for; say whether there is something new to try."""
        header = response.headers.get("WWW-Authenticate", "")
        with self._lock:
            if self._authorization in {"", sent}:
                try:
                    found = self._authorization_for(header)
                except ContractError as exc:
                    response.close()
                    raise RegistryError(str(exc), status=401) from exc
                except BaseException:
                    response.close()
                    raise
                if not found or found == sent:
                    return False
                self._authorization = found
        response.close()
        return True

    def _authorization_for(self, header: str) -> str:
        challenge = parse_challenge(header)
        credentials = read_credentials(self._access.auth_file, self._repository.host)
        if challenge.scheme == "basic" and credentials and not credentials.identity_token:
            return credentials.basic
        if challenge.scheme != "bearer":
            return ""
        wanted = token_request(
            challenge, credentials, repository=self._repository.name, plain_http=self._is_plain
        )
        answer = self._request(wanted.method, wanted.url, wanted.headers, wanted.body)
        try:
            if answer.status != 200:
                raise self.refusal(answer, "a token")
            return "Bearer " + parse_token(answer.read(MAX_TOKEN_BYTES, decode_content=True))
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise RegistryError(f"the registry's token service broke off: {exc}") from exc
        finally:
            answer.close()


def _origin(url: str) -> str:
    address = urlsplit(url)
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}"


def _make_pool(base: str, access: Access) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=access.timeouts.connect_s, read=access.timeouts.read_s)
    address = urlsplit(base)
    # Reading all of the system's authorities takes time that plain HTTP need not wait for.
    context = _trust(access) if address.scheme == "https" else None
    proxy = urllib.request.getproxies().get(address.scheme, "")
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        return urllib3.ProxyManager(proxy, timeout=timeout, retries=False, ssl_context=context)
    return urllib3.PoolManager(timeout=timeout, retries=False, ssl_context=context)


def _trust(access: Access) -> ssl.SSLContext:
    file = access.ca_file
    try:
        return ssl.create_default_context(cafile=None if file is None else str(file))
    except OSError as exc:
        raise ContractError("bad-config", f"'{file}' holds no authorities: {exc}") from exc
