"""A release and its package as a registry holds them, and a registry that misbehaves on request."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edge_packages import Package, Publisher, make_package, make_release

from edge_components.contract.delta import (
    DELTA_NEW,
    DELTA_OLD,
    DELTA_PACKAGE,
    DELTA_TYPE,
    DELTAS_TYPE,
)
from edge_components.contract.digest import sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.package import MANIFEST_TYPE, Descriptor, Manifest
from edge_components.contract.release import RELEASE_TYPE
from edge_components.contract.signature import BUNDLE_TYPE
from edge_components.oci.documents import referrers_tag
from edge_components.oci.http import INDEX_TYPE

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
REPOSITORY = "edgectl/plates"


def artifact(kind: str, data: bytes, subject: bytes, *, subject_digest: str = "") -> bytes:
    """Return the manifest of an artifact with one layer that refers to ``subject``."""
    return Manifest(
        media_type=MANIFEST_TYPE,
        artifact_type=kind,
        config=Descriptor(media_type=EMPTY_TYPE, digest=sha256_digest(EMPTY), size=len(EMPTY)),
        layers=(Descriptor(media_type=kind, digest=sha256_digest(data), size=len(data)),),
        subject=Descriptor(
            media_type=MANIFEST_TYPE,
            digest=subject_digest or sha256_digest(subject),
            size=len(subject),
        ),
    ).to_bytes()


@dataclass
class Published:
    """What lies in the registry, by digest, and the release's digest."""

    package: Package
    envelope: bytes
    digest: str
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    signatures: list[Descriptor] = field(default_factory=list)

    def sign(self, publisher: Publisher, bundle: bytes) -> None:
        data = artifact(BUNDLE_TYPE, bundle, self.package.manifest_bytes)
        self.manifests[sha256_digest(data)] = data
        self.blobs[sha256_digest(bundle)] = bundle
        self.signatures.append(
            Descriptor(
                media_type=MANIFEST_TYPE,
                digest=sha256_digest(data),
                size=len(data),
                artifact_type=BUNDLE_TYPE,
            )
        )

    def offer(self, old: Package, layers: dict[tuple[str, str], bytes]) -> None:
        """Put deltas beside the package: (old digest, new digest) to the delta."""
        data = Manifest(
            media_type=MANIFEST_TYPE,
            artifact_type=DELTAS_TYPE,
            config=Descriptor(media_type=EMPTY_TYPE, digest=sha256_digest(EMPTY), size=len(EMPTY)),
            layers=tuple(
                Descriptor(
                    media_type=DELTA_TYPE,
                    digest=sha256_digest(made),
                    size=len(made),
                    annotations={DELTA_OLD: before, DELTA_NEW: after},
                )
                for (before, after), made in layers.items()
            ),
            subject=Descriptor(
                media_type=MANIFEST_TYPE,
                digest=self.package.digest,
                size=len(self.package.manifest_bytes),
            ),
            annotations={DELTA_PACKAGE: old.digest},
        ).to_bytes()
        self.manifests[sha256_digest(data)] = data
        self.blobs.update({sha256_digest(made): made for made in layers.values()})
        self.signatures.append(
            Descriptor(
                media_type=MANIFEST_TYPE,
                digest=sha256_digest(data),
                size=len(data),
                artifact_type=DELTAS_TYPE,
            )
        )

    @property
    def referrers(self) -> bytes:
        listed = [{**json.loads(canonical_json(entry))} for entry in self.signatures]
        return canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed})


def publish(
    publisher: Publisher,
    number: int = 1,
    *,
    package: Package | None = None,
    weights: dict[str, bytes] | None = None,
    **release: Any,
) -> Published:
    """Make a release of a package."""
    package = package or make_package(publisher, weights or {"int8": b"i" * 3000, "fp32": b"f" * 9})
    envelope = make_release(publisher, package, number, **release)
    manifest = artifact(RELEASE_TYPE, envelope, package.manifest_bytes)
    found = Published(package=package, envelope=envelope, digest=sha256_digest(manifest))
    found.manifests = {found.digest: manifest, package.digest: package.manifest_bytes}
    found.blobs = {**package.blobs, sha256_digest(envelope): envelope, sha256_digest(EMPTY): EMPTY}
    found.sign(publisher, package.signature)
    return found


class Misbehaving:
    """A registry for reading, over plain HTTP on loopback, which does what a test asks.

    Attributes:
        counts: Requests by method and path.
        cut: Bytes of a blob after which the connection ends, once for each entry.
        answers: Statuses that the next requests get, with headers.
        gates: By digest, how many requests are answered before the next ones wait for an event.
        user: Name and password that the token service asks for, or None for no login.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.cut: list[int] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.user: tuple[str, str] | None = None
        self.refresh_token = ""
        self.tokens: set[str] = set()
        self.has_referrers = True
        self.redirect_to = ""
        self.seen_authorization: list[str] = []
        self.on_blob: Callable[[], None] = lambda: None
        self.published: list[Published] = []
        self.replaced: dict[str, bytes] = {}
        self.gates: dict[str, tuple[int, threading.Event]] = {}
        handler = type("Handler", (_Handler,), {"registry": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.reference = f"{self.host}/{REPOSITORY}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, published: Published) -> Published:
        self.published.append(published)
        return published

    def find(self, kind: str, name: str) -> bytes | None:
        if name in self.replaced:
            return self.replaced[name]
        for one in self.published:
            if name in (found := getattr(one, kind)):
                content: bytes = found[name]
                return content
            if name == referrers_tag(one.package.digest) and not self.has_referrers:
                return one.referrers
        return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    registry: Misbehaving
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        registry = self.registry
        path = urlsplit(self.path).path
        registry.counts[path] += 1
        registry.seen_authorization.append(self.headers.get("Authorization", ""))
        if path == "/token":
            return self._token()
        if registry.answers:
            status, headers = registry.answers.pop(0)
            return self._send(status, b"{}", headers)
        if registry.user and self.headers.get("Authorization", "")[7:] not in registry.tokens:
            realm = f'Bearer realm="http://{registry.host}/token",service="registry"'
            return self._send(401, b"{}", {"WWW-Authenticate": realm})
        return self._content(path)

    def do_POST(self) -> None:
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        right = body.get("refresh_token") == [self.registry.refresh_token]
        self._issue() if right else self._send(401, b"{}")

    def _token(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query["service"] == ["registry"]
        assert query["scope"] == [f"repository:{REPOSITORY}:pull"]
        name, password = self.registry.user or ("", "")
        pair = base64.b64encode(f"{name}:{password}".encode()).decode()
        right = self.headers.get("Authorization") == f"Basic {pair}"
        self._issue() if right else self._send(401, b"{}")

    def _issue(self) -> None:
        token = f"token-{self.registry.counts.total()}"
        self.registry.tokens.add(token)
        self._send(200, json.dumps({"token": token}).encode())

    def _content(self, path: str) -> None:
        match = re.fullmatch(rf"/v2/{REPOSITORY}/(manifests|blobs|referrers)/(\S+)", path)
        assert match, path
        kind, name = match[1], match[2]
        if kind == "referrers":
            found = [p.referrers for p in self.registry.published if p.package.digest == name]
            has = self.registry.has_referrers and found
            return self._send(200, found[0]) if has else self._send(404, b"{}")
        data = self.registry.find(kind, name)
        if data is None:
            return self._send(404, b"{}")
        if kind == "blobs":
            if self.registry.redirect_to:
                return self._send(307, b"", {"Location": self.registry.redirect_to + self.path})
            after, gate = self.registry.gates.get(name, (0, None))
            if gate is not None and self.registry.counts[path] > after:
                gate.wait(30)
            return self._blob(data)
        return self._send(200, data)

    def _blob(self, data: bytes) -> None:
        self.registry.on_blob()
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked:
            self.registry.ranges.append(asked)
        part = data[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.registry.cut and len(part) > self.registry.cut[0]:
            self.wfile.write(part[: self.registry.cut.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(part)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
