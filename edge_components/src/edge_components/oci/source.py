"""A release in a registry, as the updater asks for it: documents first, weights when they are due.

Documents are kept in a cache by their digests, so that an order for a version that was seen before
needs no registry. Weights go straight to where the updater wants them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from urllib.parse import quote

import msgspec
import urllib3

from edge_components.agent.backoff import chance
from edge_components.agent.download import Download, DownloadPolicy, Target
from edge_components.agent.http import HubError
from edge_components.contract.delta import DELTAS_TYPE, Offer, parse_deltas
from edge_components.contract.digest import sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.package import MAX_MANIFEST_BYTES, Descriptor
from edge_components.contract.signature import BUNDLE_TYPE
from edge_components.contract.state import Reason
from edge_components.oci.cache import Cache
from edge_components.oci.documents import (
    check_envelope,
    choose_bundle,
    parse_delta_referrers,
    parse_referrers,
    parse_release_manifest,
    parse_signature_manifest,
    referrers_tag,
)
from edge_components.oci.http import RegistryError, RegistryHttp
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.link import Link

_LOG = logging.getLogger(__name__)
_WRONG_BYTES = 3


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be fetched.

    Attributes:
        digest: Of the release's manifest in the registry.
        number: The release's number, where it is known; 0 for any.
        hints: Names of the publishers' keys that are trusted; a signature of theirs is preferred.
    """

    digest: str
    number: int = 0
    hints: frozenset[str] = frozenset()


class OciSource:
    """A ``Source`` that reads a registry.

    Args:
        http: The repository.
        wanted: Which release.
        cache: Where documents are kept.
        policy: How patient it is.
    """

    def __init__(
        self,
        http: RegistryHttp,
        wanted: Wanted,
        cache: Cache,
        policy: DownloadPolicy | None = None,
    ) -> None:
        self._http = http
        self._wanted = wanted
        self._cache = cache
        self._policy = policy or DownloadPolicy()
        self._package = ""
        self._link = Link()

    def release(self, stop: threading.Event) -> bytes:
        """Return the release's envelope.

        Raises:
            RefusedError: It cannot be had, or is not the one that is wanted.
            CalledOffError: ``stop`` was set.
        """
        digest = self._wanted.digest
        data = self._manifest(digest, stop)
        try:
            layer, self._package = parse_release_manifest(data, digest=digest)
            envelope = self._document(f"blobs/{layer.digest}", layer.digest, layer.size, stop)
            found = check_envelope(envelope, package=self._package)
        except ContractError as exc:
            raise _refused(exc) from exc
        if self._wanted.number not in {0, found.number}:
            raise RefusedError(
                Reason.BAD_PACKAGE,
                f"{digest} is release {found.number}, not release {self._wanted.number}",
            )
        return envelope

    def manifest(self, digest: str, stop: threading.Event) -> bytes:
        """Return the manifest with that digest; raises as ``release`` does."""
        self._package = digest
        return self._manifest(digest, stop)

    def signature(self, stop: threading.Event) -> bytes:
        """Return a Sigstore bundle that refers to the package; raises as ``release`` does."""
        found = choose_bundle(self._bundles(stop), self._wanted.hints)
        if found is None:
            raise RefusedError(
                Reason.BAD_SIGNATURE, f"the registry has no signature of {self._package}"
            )
        return found

    def keep_to(self, link: Link) -> None:
        """Keep to a network's limits in every file that is fetched from now on."""
        self._link = link

    def fetch(self, layer: Descriptor, partial: Target, stop: threading.Event) -> None:
        """Fill ``partial``; the caller checks the digest. Raises as ``release`` does."""
        href = f"blobs/{layer.digest}"
        policy, link = self._policy, self._link
        Download(self._http, href, layer.digest, partial, policy=policy, stop=stop, link=link).run()

    def offers(self, packages: frozenset[str], stop: threading.Event) -> tuple[Offer, ...]:
        """Return the deltas that refer to the package; raises as ``release`` does."""
        found: list[Offer] = []
        try:
            listed = self._referrers(DELTAS_TYPE, stop)
            for digest in () if listed is None else parse_delta_referrers(listed, packages):
                data = self._manifest(digest, stop)
                found += parse_deltas(data, digest=digest, package=self._package)[1]
        except ContractError as exc:
            raise _refused(exc) from exc
        return tuple(found)

    def _bundles(self, stop: threading.Event) -> Iterator[bytes]:
        for digest in self._signatures(stop):
            try:
                part = parse_signature_manifest(
                    self._manifest(digest, stop), digest=digest, package=self._package
                )
                yield self._document(f"blobs/{part.digest}", part.digest, part.size, stop)
            except ContractError as exc:
                _LOG.warning("%s: %s", digest, exc)

    def _signatures(self, stop: threading.Event) -> tuple[str, ...]:
        try:
            listed = self._referrers(BUNDLE_TYPE, stop)
            return () if listed is None else parse_referrers(listed)
        except ContractError as exc:
            raise _refused(exc) from exc

    def _referrers(self, kind: str, stop: threading.Event) -> bytes | None:
        """Return the list of what refers to the package, by the API or else by the tag schema."""
        by_api = f"referrers/{self._package}?artifactType={quote(kind, safe='')}"
        by_tag = f"manifests/{referrers_tag(self._package)}"
        listed = self._read(by_api, MAX_MANIFEST_BYTES, stop, absent=True)
        if listed is None:
            listed = self._read(by_tag, MAX_MANIFEST_BYTES, stop, absent=True)
        return listed

    def _manifest(self, digest: str, stop: threading.Event) -> bytes:
        return self._document(f"manifests/{digest}", digest, MAX_MANIFEST_BYTES, stop)

    def _document(self, href: str, digest: str, limit: int, stop: threading.Event) -> bytes:
        if (path := self._cache.find(digest)) is not None:
            return path.read_bytes()
        for _ in range(_WRONG_BYTES):
            data = self._read(href, limit, stop) or b""
            if sha256_digest(data) == digest:
                self._cache.add(digest, data, stop)
                return data
            _LOG.warning("'%s' came with other bytes", href)
        raise RefusedError(Reason.DIGEST_MISMATCH, f"'{href}' does not come with its digest")

    def _read(
        self, href: str, limit: int, stop: threading.Event, *, absent: bool = False
    ) -> bytes | None:
        """Read a small document, as often as it takes; None where it may be and is absent."""
        for attempt in range(1, self._policy.fruitless + 1):
            if stop.is_set():
                raise CalledOffError
            try:
                return self._read_once(href, limit, absent=absent)
            except HubError as exc:
                fault = exc
            if fault.is_final or attempt == self._policy.fruitless:
                break
            _LOG.info("%s", fault)
            wait = self._policy.backoff.wait_s(attempt, chance(), at_least_s=fault.retry_after_s)
            if stop.wait(wait):
                raise CalledOffError
        raise RefusedError(Reason.DOWNLOAD_FAILED, str(fault)) from fault

    def _read_once(self, href: str, limit: int, *, absent: bool) -> bytes | None:
        response = self._http.open(href, {})
        try:
            if absent and response.status == 404:
                return None
            if response.status != 200:
                raise self._http.refusal(response, f"'{href}'")
            data = response.read(limit + 1, decode_content=False)
            expected = response.headers.get("Content-Length", "")
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise RegistryError(f"'{href}' broke off: {type(exc).__name__}") from exc
        finally:
            response.close()
        if len(data) > limit:
            raise RefusedError(Reason.BAD_PACKAGE, f"'{href}' has more than {limit} bytes")
        if expected.isdecimal() and len(data) < int(expected):
            raise RegistryError(f"'{href}' broke off at byte {len(data)}")
        return data


def _refused(error: ContractError) -> RefusedError:
    reasons = {"digest-mismatch": Reason.DIGEST_MISMATCH, "bad-signature": Reason.BAD_SIGNATURE}
    return RefusedError(reasons.get(error.code, Reason.BAD_PACKAGE), str(error))
