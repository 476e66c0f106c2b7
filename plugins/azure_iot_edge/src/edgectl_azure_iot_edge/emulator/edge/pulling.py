"""Talks to registries as Docker does when it pulls: bearer tokens, and its words for what fails."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.identities import http_pool
from edgectl_azure_iot_edge.emulator.edge.records import Credential
from edgectl_azure_iot_edge.emulator.edge.references import Reference, is_loopback

_KINDS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_CHUNK_BYTES = 1 << 16


class PullError(Exception):
    """An image cannot be had."""


class Puller:
    """Opens repositories.

    Args:
        trust: PEM file of the authorities to trust, or None for the system's.
        plain: Registries (``host:port``) that are spoken to without TLS, as Docker's
            ``insecure-registries``.
    """

    def __init__(
        self, trust: Path | None, faults: FaultFile, plain: frozenset[str] = frozenset()
    ) -> None:
        self._http = http_pool(trust)
        self._faults = faults
        self._plain = plain

    def source(self, reference: Reference, access: Credential | None) -> Source:
        """Return an image's repository."""
        plain = reference.host in self._plain or is_loopback(reference.host)
        scheme = "http" if plain else "https"
        return Source(self._http, self._faults, scheme, reference, access)


class Source:
    """A repository to pull from."""

    def __init__(
        self,
        http: urllib3.PoolManager,
        faults: FaultFile,
        scheme: str,
        reference: Reference,
        access: Credential | None,
    ) -> None:
        self._http = http
        self._faults = faults
        self._base = f"{scheme}://{reference.host}/v2"
        self._reference = reference
        self._access = access
        self._authorization = ""

    def manifest(self, wanted: str) -> tuple[bytes, str]:
        """Return a manifest and its digest.

        Raises:
            PullError: It cannot be had, or is not what the digest says.
        """
        answer = self._get(f"manifests/{wanted}", {"Accept": ", ".join(_KINDS)})
        body = answer.read()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if wanted.startswith("sha256:") and wanted != digest:
            raise PullError(f"manifest verification failed for digest {wanted}")
        return body, digest

    def blob(self, digest: str) -> Iterator[bytes]:
        """Yield a blob's bytes.

        Raises:
            PullError: It cannot be had to its end.
        """
        answer = self._get(f"blobs/{digest}", {})
        try:
            for chunk in answer.stream(_CHUNK_BYTES):
                if self._faults.now.network_cut:
                    raise PullError("unexpected EOF")
                yield chunk
        except urllib3.exceptions.HTTPError as exc:
            raise PullError("unexpected EOF") from exc
        finally:
            answer.release_conn()

    def _get(self, path: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        url = f"{self._base}/{self._reference.repository}/{path}"
        answer = self._request(url, {**headers, "Authorization": self._authorization})
        if answer.status == 401 and not self._authorization:
            self._authorization = self._login(answer.headers.get("WWW-Authenticate", ""))
            answer.drain_conn()
            answer = self._request(url, {**headers, "Authorization": self._authorization})
        if answer.status == 200:
            return answer
        answer.drain_conn()
        raise PullError(self._words(answer.status, url))

    def _request(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        if self._faults.now.network_cut:
            raise PullError(f'Get "{self._base}/": dial tcp: connect: network is unreachable')
        given = {name: value for name, value in headers.items() if value}
        try:
            return self._http.request(
                "GET", url, headers=given, preload_content=False, redirect=True
            )
        except urllib3.exceptions.HTTPError as exc:
            raise PullError(f'Get "{self._base}/": {exc}') from exc

    def _login(self, challenge: str) -> str:
        kind, _, rest = challenge.partition(" ")
        basic = ""
        if self._access is not None:
            user, password = self._access.username, self._access.password
            basic = urllib3.make_headers(basic_auth=f"{user}:{password}")["authorization"]
        if kind.lower() != "bearer":
            return basic
        fields = dict(_CHALLENGE.findall(rest))
        scope = fields.get("scope") or f"repository:{self._reference.repository}:pull"
        query = urlencode({"service": fields.get("service", ""), "scope": scope})
        answer = self._request(f"{fields.get('realm', '')}?{query}", {"Authorization": basic})
        if answer.status != 200:
            answer.drain_conn()
            raise PullError(self._words(answer.status, self._base))
        document: dict[str, Any] = answer.json()
        return f"Bearer {document.get('token') or document.get('access_token')}"

    def _words(self, status: int, url: str) -> str:
        name = f"{self._reference.host}/{self._reference.repository}"
        if status in {401, 403}:
            return (
                f"Error response from daemon: pull access denied for {name}, repository does not"
                " exist or may require 'docker login': denied"
            )
        if status == 404:
            wanted = self._reference.wanted
            return f"Error response from daemon: manifest for {name}:{wanted} not found"
        if status == 429:
            return "Error response from daemon: toomanyrequests: too many requests"
        return f'Error response from daemon: received unexpected HTTP status {status} from "{url}"'


def media_type(document: Mapping[str, Any]) -> str:
    """Return what kind of manifest a document is."""
    kind = document.get("mediaType")
    if kind:
        return str(kind)
    return (
        "application/vnd.oci.image.index.v1+json"
        if "manifests" in document
        else "application/vnd.oci.image.manifest.v1+json"
    )
