"""The files of one order, over a link that drops, stalls and lies.

A download is continued where it broke off. It is given up only after several attempts in a row
brought not one byte: a slow link is not a broken one. Whether the bytes are right is decided by
their digest, so ranges that a server gets wrong cost time and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Mapping
from typing import Protocol

import msgspec
import urllib3

from edge_components.agent.backoff import Backoff, chance
from edge_components.agent.ddi import Artifact, Order
from edge_components.agent.http import HubError, HubHttp
from edge_components.contract.delta import DELTA_TYPE, Offer, parse_delta_file_name
from edge_components.contract.digest import digest_hex
from edge_components.contract.errors import ContractError
from edge_components.contract.package import (
    MAX_MANIFEST_BYTES,
    SIGNATURE_FILE,
    Descriptor,
)
from edge_components.contract.release import MANIFEST_FILE, MAX_RELEASE_BYTES, RELEASE_FILE
from edge_components.contract.signature import MAX_SIGNATURE_BYTES
from edge_components.contract.state import Reason
from edge_components.store.blobs import Partial
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.link import Link

_LOG = logging.getLogger(__name__)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(?:\d{1,19}|\*)")


class DownloadPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a download is.

    Attributes:
        fruitless: Attempts in a row without a byte after which it is given up.
        backoff: Waits between attempts.
    """

    fruitless: int = 10
    backoff: Backoff = Backoff(first_s=0.5, most_s=60.0)


class DdiSource:
    """The artifacts of an order, found by name and by sha256 over all of its chunks."""

    def __init__(self, http: HubHttp, order: Order, policy: DownloadPolicy) -> None:
        artifacts = [a for chunk in order.deployment.chunks for a in chunk.artifacts]
        self._by_name = {a.filename: a for a in artifacts}
        self._by_digest = {a.hashes.sha256.lower(): a for a in artifacts if a.hashes.sha256}
        self._http = http
        self._policy = policy
        self._link = Link()

    def release(self, stop: threading.Event) -> bytes:
        """Return the release's envelope."""
        return self._document(
            self._by_name.get(RELEASE_FILE), RELEASE_FILE, 2 * MAX_RELEASE_BYTES, stop
        )

    def manifest(self, digest: str, stop: threading.Event) -> bytes:
        """Return the manifest with that digest."""
        artifact = self._by_digest.get(digest_hex(digest)) or self._by_name.get(MANIFEST_FILE)
        return self._document(artifact, MANIFEST_FILE, MAX_MANIFEST_BYTES, stop)

    def signature(self, stop: threading.Event) -> bytes:
        """Return the package's Sigstore bundle."""
        return self._document(
            self._by_name.get(SIGNATURE_FILE), SIGNATURE_FILE, MAX_SIGNATURE_BYTES, stop
        )

    def keep_to(self, link: Link) -> None:
        """Keep to a network's limits in every file that is fetched from now on."""
        self._link = link

    def fetch(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        """Fill ``partial``."""
        artifact = self._by_digest.get(digest_hex(layer.digest))
        if artifact is None:
            raise RefusedError(
                Reason.BAD_PACKAGE, f"the deployment has no file with digest {layer.digest}"
            )
        _download(self._http, artifact, partial, self._policy, stop, link=self._link)

    def offers(self, packages: frozenset[str], stop: threading.Event) -> tuple[Offer, ...]:
        """Return the deltas among the files; the hub says of each what it is by its name."""
        del packages, stop
        return tuple(
            Offer(old=pair[0], new=pair[1], delta=delta)
            for artifact in self._by_name.values()
            if (pair := parse_delta_file_name(artifact.filename))
            and (delta := _delta(artifact)) is not None
        )

    def _document(
        self, artifact: Artifact | None, name: str, limit: int, stop: threading.Event
    ) -> bytes:
        if artifact is None:
            raise RefusedError(Reason.BAD_PACKAGE, f"the deployment has no '{name}'")
        if artifact.size > limit:
            raise RefusedError(
                Reason.BAD_PACKAGE, f"'{name}' has {artifact.size} bytes, at most {limit} may be"
            )
        for _ in range(3):
            memory = Memory(artifact.size)
            _download(self._http, artifact, memory, self._policy, stop)
            data = bytes(memory.data)
            expected = artifact.hashes.sha256.lower()
            if not expected or hashlib.sha256(data).hexdigest() == expected:
                return data
        raise RefusedError(
            Reason.DIGEST_MISMATCH, f"'{name}' does not come with the hub's digest of it"
        )


def _delta(artifact: Artifact) -> Descriptor | None:
    digest = f"sha256:{artifact.hashes.sha256.lower()}"
    try:
        digest_hex(digest)
    except ContractError:
        return None
    return Descriptor(media_type=DELTA_TYPE, digest=digest, size=artifact.size)


def _download(
    http: HubHttp,
    artifact: Artifact,
    target: Target,
    policy: DownloadPolicy,
    stop: threading.Event,
    *,
    link: Link | None = None,
) -> None:
    href = artifact.href()
    if href is None:
        raise RefusedError(Reason.BAD_PACKAGE, f"'{artifact.filename}' has no address")
    Download(http, href, artifact.filename, target, policy=policy, stop=stop, link=link).run()


class Target(Protocol):
    """Where the bytes of a file go; ``Partial`` is one.

    Attributes:
        offset: Bytes that are here already.
        size: Bytes that it must have in the end.
    """

    offset: int
    size: int

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def restart(self) -> None:
        """Throw away what is here and begin at the first byte."""


class Server(Protocol):
    """Who has the files."""

    def open(self, href: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Begin to answer a GET, whatever its status; raises ``HubError``."""

    def refusal(self, response: urllib3.BaseHTTPResponse, what: str) -> HubError:
        """Return the error for an answer that is not a success."""


class Memory:
    """A small file on its way into memory.

    Args:
        size: Bytes that it must have in the end.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.offset = 0
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.data += data
        self.offset += len(data)

    def restart(self) -> None:
        """Throw away what is here."""
        self.data.clear()
        self.offset = 0


class Download:
    """One file, in as many requests as it takes.

    Args:
        http: Who has it.
        href: Where.
        name: What messages call it.
        target: Where its bytes go.
        policy: How patient to be.
        stop: Ends it early.
        link: The limits of the network that it goes over.
    """

    def __init__(
        self,
        http: Server,
        href: str,
        name: str,
        target: Target,
        *,
        policy: DownloadPolicy,
        stop: threading.Event,
        link: Link | None = None,
    ) -> None:
        self._http = http
        self._href = href
        self._name = name
        self._target = target
        self._policy = policy
        self._stop = stop
        self._link = link or Link()
        self._etag = ""
        self._ranges = True

    def run(self) -> None:
        """Bring the file to its size.

        Raises:
            RefusedError: ``download-failed``.
            CalledOffError: The update was called off.
        """
        fruitless = 0
        while self._target.offset < self._target.size:
            self._link.hold(self._stop)
            before = self._target.offset
            try:
                self._attempt()
                fault = HubError(f"'{self._name}' broke off at byte {self._target.offset}")
            except HubError as exc:
                fault = exc
            if self._stop.is_set():
                raise CalledOffError
            if self._target.offset >= self._target.size:
                return
            if not self._link.is_open():
                _LOG.info(
                    "'%s': the window ends; %d bytes are here", self._name, self._target.offset
                )
                continue
            fruitless = 0 if self._target.offset > before else fruitless + 1
            if fault.is_final or fruitless >= self._policy.fruitless:
                raise RefusedError(Reason.DOWNLOAD_FAILED, f"'{self._name}': {fault}")
            _LOG.info("%s; %d bytes are here", fault, self._target.offset)
            wait = self._policy.backoff.wait_s(
                max(fruitless, 1), chance(), at_least_s=fault.retry_after_s
            )
            if self._stop.wait(wait):
                raise CalledOffError

    def _attempt(self) -> None:
        headers = {}
        if self._target.offset and self._ranges:
            headers["Range"] = f"bytes={self._target.offset}-"
            if self._etag:
                headers["If-Range"] = self._etag
        response = self._http.open(self._href, headers)
        try:
            skip = self._skip(response)
            if skip is not None:
                self._etag = _strong(response.headers.get("ETag", ""))
                self._receive(response, skip)
        finally:
            # What was not read to its end is not worth keeping the connection for.
            if response.length_remaining != 0:
                response.close()
            response.release_conn()

    def _skip(self, response: urllib3.BaseHTTPResponse) -> int | None:
        """Return how many bytes of the body are here already; None if it is of no use."""
        if response.status == 200:
            return self._target.offset
        if response.status == 206 and self._ranges:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            start = int(match[1]) if match else -1
            if 0 <= start <= self._target.offset:
                return self._target.offset - start
        if response.status in {206, 416}:
            _LOG.warning("'%s': the server gets ranges wrong; from the start again", self._name)
            self._ranges = False
            self._target.restart()
            return None
        raise self._http.refusal(response, f"'{self._name}'")

    def _receive(self, response: urllib3.BaseHTTPResponse, skip: int) -> None:
        try:
            # read1 hands over what came; read would wait for a full chunk and lose it in a stall.
            size = self._link.chunk_bytes
            while data := response.read1(size, decode_content=False):
                fresh = data[skip:]
                skip = max(skip - len(data), 0)
                if fresh:
                    self._target.write(fresh[: self._target.size - self._target.offset])
                self._link.spend(len(data), self._stop)
                if self._stop.is_set() or self._target.offset >= self._target.size:
                    return
                if not self._link.is_open():
                    return
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise HubError(f"'{self._name}' broke off: {type(exc).__name__}") from exc


def _strong(etag: str) -> str:
    """Return the tag if If-Range may carry it (RFC 9110, 13.1.5: strong ones only)."""
    return "" if etag.startswith("W/") else etag
