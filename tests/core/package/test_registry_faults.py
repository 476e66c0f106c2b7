"""Push and pull against a registry that is busy, cut, hostile, or asks who we are."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import ipaddress
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_components.contract.digest import sha256_digest
from edgectl.errors import EdgectlError, PackageError, RegistryError
from edgectl.package.build import PackageContent, build_package
from edgectl.package.read import open_package, verify_layout_package
from edgectl.package.registry import RetryPolicy, pull, push
from edgectl.package.sign import sign_package
from edgectl.package.store import Layout

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
INDEX = "application/vnd.oci.image.index.v1+json"
Fault = Callable[["Handler"], bool]


class FakeRegistry(ThreadingHTTPServer):
    """Keeps state like a registry; a fault may answer a request in its place."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: list[Fault] = []
        self.native_referrers = False
        self.sent = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def calls(self, method: str, pattern: str) -> list[dict[str, str]]:
        return [
            headers
            for verb, path, headers in self.requests
            if verb == method and re.search(pattern, path)
        ]

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections are cut on purpose here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeRegistry

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def handle_any(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        for fault in list(self.server.faults):
            if fault(self):
                return
        _, _, rest = self.path.partition("/v2/")
        path, _, query = rest.partition("?")
        for pattern, answer in (
            (r"(.+)/manifests/([^/]+)", self.manifest),
            (r"(.+)/blobs/uploads/(.*)", self.upload),
            (r"(.+)/blobs/([^/]+)", self.blob),
            (r"(.+)/referrers/([^/]+)", self.referrers),
        ):
            if match := re.fullmatch(pattern, path):
                answer(match[2], query)
                return
        self.reply(404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - the base's names

    def body(self) -> bytes:
        size = int(self.headers.get("Content-Length", "0"))
        if size:
            self.headers.replace_header("Content-Length", "0")  # read only once
        return self.rfile.read(size)

    def reply(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, **headers: str) -> bool:
        self.body()
        data = json.dumps({"errors": [{"code": code, "message": f"it is {code}"}]}).encode()
        self.reply(status, data, **headers)
        return True

    def manifest(self, reference: str, _query: str) -> None:
        if self.command == "PUT":
            data = self.body()
            digest = sha256_digest(data)
            self.server.manifests[reference] = self.server.manifests[digest] = (
                self.headers["Content-Type"],
                data,
            )
            subject = json.loads(data).get("subject")
            listed = (
                {"OCI_Subject": subject["digest"]}
                if subject and self.server.native_referrers
                else {}
            )
            self.reply(201, Docker_Content_Digest=digest, **listed)
        elif found := self.server.manifests.get(reference):
            self.reply(
                200, found[1], Content_Type=found[0], Docker_Content_Digest=sha256_digest(found[1])
            )
        else:
            self.refuse(404, "MANIFEST_UNKNOWN")

    def upload(self, _session: str, query: str) -> None:
        if self.command == "POST":
            self.reply(202, Location=f"/v2/x/blobs/uploads/{os.urandom(4).hex()}?state=1")
            return
        data = self.body()
        digest = query.partition("digest=")[2].replace("%3A", ":")
        if sha256_digest(data) != digest:
            self.refuse(400, "DIGEST_INVALID")
            return
        self.server.blobs[digest] = data
        self.reply(201, Docker_Content_Digest=digest)

    def blob(self, digest: str, _query: str) -> None:
        data = self.server.blobs.get(digest)
        if data is None:
            self.refuse(404, "BLOB_UNKNOWN")
            return
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        status = 206 if "Range" in self.headers else 200
        if self.command != "HEAD":
            self.server.sent += len(data) - start
        self.reply(status, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")

    def referrers(self, digest: str, _query: str) -> None:
        if not self.server.native_referrers:
            self.refuse(404, "NOT_FOUND")
            return
        found = []
        for reference, (kind, data) in self.server.manifests.items():
            manifest = json.loads(data)
            if (
                reference.startswith("sha256:")
                and manifest.get("subject", {}).get("digest") == digest
            ):
                found.append(
                    {
                        "mediaType": kind,
                        "digest": reference,
                        "size": len(data),
                        "artifactType": manifest["artifactType"],
                    }
                )
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
        self.reply(200, json.dumps(index).encode(), Content_Type=INDEX)


@contextlib.contextmanager
def served(server: FakeRegistry) -> Iterator[FakeRegistry]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with served(FakeRegistry()) as server:
        yield server


@pytest.fixture
def large(make_content: Callable[..., PackageContent], tmp_path: Path, key: Any) -> Any:
    """A signed package with a file of 3 MiB."""
    content = make_content()
    content.files["model/fp32/model.onnx.data"].write_bytes(os.urandom(3 << 20))
    package = build_package(content, tmp_path / "large")
    sign_package(tmp_path / "large", package.digest, key)
    return package


def times(count: int, fault: Fault) -> Fault:
    """Let a fault happen so many times; it says whether it did."""
    left = [count]

    def limited(handler: Handler) -> bool:
        if left[0] <= 0 or not fault(handler):
            return False
        left[0] -= 1
        return True

    return limited


def on(method: str, pattern: str, action: Callable[[Handler], object]) -> Fault:
    def fault(handler: Handler) -> bool:
        if handler.command != method or not re.search(pattern, handler.path):
            return False
        return action(handler) is not False

    return fault


def busy(status: int) -> Callable[[Handler], object]:
    return lambda handler: handler.refuse(status, "BUSY", Retry_After="1")


def cut(handler: Handler) -> bool:
    handler.close_connection = True
    handler.connection.close()
    return True


def cut_blob_after(size: int) -> Callable[[Handler], object]:
    """Send this many bytes of a blob from where the client asks, then cut; small blobs pass."""

    def action(handler: Handler) -> bool:
        data = handler.server.blobs[handler.path.rpartition("/")[2]]
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        if len(data) - start <= size:
            return False
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[start : start + size])
        handler.wfile.flush()
        handler.server.sent += size
        return cut(handler)

    return action


def package_bytes(layout: Path, digest: str) -> int:
    manifest = Layout.open(layout).read_manifest(digest)
    return sum(blob.size for blob in (manifest.config, *manifest.layers))


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_registry_is_asked_again(
    signed: Any, fake: FakeRegistry, quick: RetryPolicy, tmp_path: Path, status: int
) -> None:
    for method, pattern in (
        ("HEAD", "blobs"),
        ("POST", "uploads"),
        ("PUT", "uploads"),
        ("PUT", "manifests"),
    ):
        fake.faults.append(times(2, on(method, pattern, busy(status))))
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1", policy=quick)
    fake.faults = [times(2, on("GET", kind, busy(status))) for kind in ("manifests", "blobs")]
    assert pull(f"{fake.host}/a:1", tmp_path / "other", policy=quick) == signed.digest


def test_a_registry_that_stays_busy_is_given_up(
    signed: Any, fake: FakeRegistry, quick: RetryPolicy
) -> None:
    fake.faults.append(on("HEAD", "blobs", busy(503)))
    with pytest.raises(RegistryError, match=r"HEAD with status 503"):
        push(signed.layout, signed.digest, f"{fake.host}/a", policy=quick)
    assert len(fake.requests) == quick.attempts


def test_a_refusal_has_the_registrys_code_and_names_the_repository(
    signed: Any, fake: FakeRegistry, quick: RetryPolicy
) -> None:
    fake.faults.append(on("POST", "uploads", lambda handler: handler.refuse(403, "DENIED")))
    with pytest.raises(RegistryError) as caught:
        push(signed.layout, signed.digest, f"{fake.host}/team/a", policy=quick)
    assert caught.value.vendor_code == "DENIED"
    for word in (fake.host, "team/a", "403", "DENIED: it is DENIED"):
        assert word in caught.value.message
    assert len(fake.calls("POST", "uploads")) == 1


def test_a_cut_upload_begins_again_in_a_new_session(
    large: Any, fake: FakeRegistry, quick: RetryPolicy
) -> None:
    def cut_upload(handler: Handler) -> bool:
        if int(handler.headers["Content-Length"]) < 1 << 20:
            return False
        handler.rfile.read(100_000)
        return cut(handler)

    fake.faults.append(times(2, on("PUT", "uploads", cut_upload)))
    push(large.layout, large.digest, f"{fake.host}/a", policy=quick)
    uploads = [path for method, path, _ in fake.requests if method == "PUT" and "uploads" in path]
    assert len(uploads) == len(set(uploads))
    assert {len(data) for data in fake.blobs.values()} >= {3 << 20}


def test_a_cut_pull_goes_on_where_it_stopped(
    large: Any, fake: FakeRegistry, quick: RetryPolicy, tmp_path: Path
) -> None:
    push(large.layout, large.digest, f"{fake.host}/a", tag="1")
    fake.faults.append(on("GET", "blobs", cut_blob_after(700_000)))
    pull(f"{fake.host}/a:1", tmp_path / "other", policy=quick)
    verify_layout_package(tmp_path / "other", large.digest, publishers=None)
    assert len([h for h in fake.calls("GET", "blobs") if "Range" in h]) == 4
    assert fake.sent < package_bytes(large.layout, large.digest) + 10_000


def test_a_failed_pull_is_resumed_by_the_next_run(
    large: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    push(large.layout, large.digest, f"{fake.host}/a", tag="1")
    fake.faults.append(times(1, on("GET", "blobs", cut_blob_after(2_000_000))))
    with pytest.raises(RegistryError, match="broke the connection"):
        pull(f"{fake.host}/a:1", tmp_path / "other", policy=RetryPolicy(attempts=1))
    with pytest.raises(PackageError, match="no blob"):
        open_package(tmp_path / "other", large.digest, publishers=None)
    pull(f"{fake.host}/a:1", tmp_path / "other")
    assert [h["Range"] for h in fake.calls("GET", "blobs") if "Range" in h] == ["bytes=2000000-"]
    verify_layout_package(tmp_path / "other", large.digest, publishers=None)
    assert list(Layout.open(tmp_path / "other").incoming.iterdir()) == []


def test_a_registry_that_ignores_ranges_is_read_from_the_start(
    large: Any, fake: FakeRegistry, quick: RetryPolicy, tmp_path: Path
) -> None:
    push(large.layout, large.digest, f"{fake.host}/a", tag="1")

    def whole(handler: Handler) -> object:
        if "Range" not in handler.headers:
            return cut_blob_after(700_000)(handler)
        handler.reply(200, handler.server.blobs[handler.path.rpartition("/")[2]])
        return True

    fake.faults.append(on("GET", "blobs", whole))
    seen: list[tuple[int, int]] = []
    pull(
        f"{fake.host}/a:1",
        tmp_path / "other",
        policy=quick,
        progress=lambda done, total: seen.append((done, total)),
    )
    verify_layout_package(tmp_path / "other", large.digest, publishers=None)
    assert seen[-1][0] == seen[-1][1]


def test_rubbish_from_an_earlier_run_does_not_spoil_a_pull_for_good(
    large: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    push(large.layout, large.digest, f"{fake.host}/a", tag="1")
    store = Layout.create(tmp_path / "other")
    store.incoming.mkdir()
    largest = max(
        Layout.open(large.layout).read_manifest(large.digest).layers, key=lambda one: one.size
    )
    (store.incoming / f"{largest.digest[7:]}.part").write_bytes(b"rubbish")
    with pytest.raises(RegistryError, match="other content"):
        pull(f"{fake.host}/a:1", tmp_path / "other")
    assert pull(f"{fake.host}/a:1", tmp_path / "other") == large.digest


def falsify(change: Callable[[bytes], bytes]) -> Callable[[Handler], object]:
    def action(handler: Handler) -> bool:
        data = change(handler.server.blobs[handler.path.rpartition("/")[2]])
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
        return True

    return action


@pytest.mark.parametrize(
    "change",
    [lambda data: b"X" + data[1:], lambda data: data + b"more", lambda data: data * 2],
)
def test_false_content_never_enters_the_store(
    signed: Any,
    fake: FakeRegistry,
    quick: RetryPolicy,
    tmp_path: Path,
    change: Callable[[bytes], bytes],
) -> None:
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    fake.faults.append(on("GET", "blobs", falsify(change)))
    with pytest.raises(RegistryError, match=r"other content|more than the"):
        pull(f"{fake.host}/a:1", tmp_path / "other", policy=quick)
    assert list((tmp_path / "other" / "blobs" / "sha256").iterdir()) == []
    assert Layout.open(tmp_path / "other").index().manifests == ()


def test_content_that_ends_early_is_given_up(
    signed: Any, fake: FakeRegistry, quick: RetryPolicy, tmp_path: Path
) -> None:
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    fake.faults.append(on("GET", "blobs", falsify(lambda _data: b"")))
    with pytest.raises(RegistryError, match="too little"):
        pull(f"{fake.host}/a:1", tmp_path / "other", policy=quick)


def test_a_manifest_with_another_digest_is_refused(
    signed: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    kind, data = fake.manifests[signed.digest]
    fake.manifests[signed.digest] = (kind, data + b" ")
    with pytest.raises(RegistryError, match="other content than"):
        pull(f"{fake.host}/a@{signed.digest}", tmp_path / "other")


def test_a_manifest_that_contradicts_its_header_is_refused(
    signed: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    data = fake.manifests["1"][1]

    def lie(handler: Handler) -> bool:
        handler.reply(200, data + b" ", Docker_Content_Digest=signed.digest)
        return True

    fake.faults.append(on("GET", "manifests/1", lie))
    with pytest.raises(RegistryError, match="other content than"):
        pull(f"{fake.host}/a:1", tmp_path / "other")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"{" * 5000, b'{"x":"' + b"y" * (3 << 20) + b'"}', b"\xff\xfe"]
)
def test_what_is_no_manifest_is_a_clear_error(
    fake: FakeRegistry, tmp_path: Path, data: bytes
) -> None:
    fake.manifests["1"] = ("application/json", data)
    with pytest.raises(EdgectlError):
        pull(f"{fake.host}/a:1", tmp_path / "other")


def test_a_registry_that_stores_something_else_is_noticed(
    signed: Any, fake: FakeRegistry, quick: RetryPolicy
) -> None:
    def lie(handler: Handler) -> bool:
        handler.body()
        handler.reply(201, Docker_Content_Digest="sha256:" + "0" * 64)
        return True

    for pattern in ("manifests", "uploads"):
        fake.faults = [on("PUT", pattern, lie)]
        with pytest.raises(RegistryError, match="in place of"):
            push(signed.layout, signed.digest, f"{fake.host}/a", policy=quick)


def test_a_local_file_that_was_changed_is_not_accepted_by_the_registry(
    signed: Any, fake: FakeRegistry, quick: RetryPolicy
) -> None:
    layer = signed.store.read_manifest(signed.digest).layers[0]
    signed.store.blob_path(layer.digest).write_bytes(b"x" * layer.size)
    with pytest.raises(RegistryError, match="DIGEST_INVALID"):
        push(signed.layout, signed.digest, f"{fake.host}/a", policy=quick)
    assert signed.digest not in fake.manifests


def test_a_registry_with_the_referrers_api_gets_no_list(
    signed: Any, key: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    fake.native_referrers = True
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    assert not [name for name in fake.manifests if name.startswith("sha256-")]
    pull(f"{fake.host}/a:1", tmp_path / "other")
    assert open_package(tmp_path / "other", signed.digest, publishers=(key.public_pem,)).verified


def test_junk_referrers_do_not_hide_the_signature(
    signed: Any, key: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    name = "sha256-" + signed.digest[7:]
    index = json.loads(fake.manifests[name][1])
    for junk in (b"{}", b"[[", json.dumps({"artifactType": BUNDLE}).encode()):
        digest = sha256_digest(junk)
        fake.manifests[digest] = ("x", junk)
        entry = {"mediaType": "x", "digest": digest, "size": 1, "artifactType": BUNDLE}
        index["manifests"].insert(0, entry)
    index["manifests"].insert(
        0, {"mediaType": "x", "digest": "sha256:" + "9" * 64, "size": 1, "artifactType": BUNDLE}
    )
    fake.manifests[name] = (INDEX, json.dumps(index).encode())
    pull(f"{fake.host}/a:1", tmp_path / "other")
    assert open_package(tmp_path / "other", signed.digest, publishers=(key.public_pem,)).verified


def test_a_pulled_package_cannot_take_anothers_tag(
    signed: Any,
    make_content: Callable[..., PackageContent],
    fake: FakeRegistry,
    tmp_path: Path,
) -> None:
    content = make_content(evaluation={"accuracy": 0.1})
    impostor = build_package(content, tmp_path / "impostor")
    push(tmp_path / "impostor", impostor.digest, f"{fake.host}/a", tag="1")
    assert pull(f"{fake.host}/a:1", signed.layout) == impostor.digest
    assert signed.store.resolve("plates:1.4.0") == signed.digest


def login(tmp_path: Path, host: str, pair: str) -> None:
    folder = tmp_path / "docker"
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(pair.encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def asks_for_a_token(handler: Handler) -> bool:
    if handler.path.startswith("/token"):
        expected = "Basic " + base64.b64encode(b"ann:pw").decode()
        if handler.headers.get("Authorization") != expected:
            return handler.refuse(401, "UNAUTHORIZED")
        handler.reply(200, b'{"token":"tok-1"}')
        return True
    if handler.headers.get("Authorization") == "Bearer tok-1":
        return False
    challenge = f'Bearer realm="http://{handler.server.host}/token",service="reg"'
    return handler.refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge)


def test_a_bearer_token_is_fetched_once_with_the_saved_login(
    signed: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    login(tmp_path, fake.host, "ann:pw")
    fake.faults.append(asks_for_a_token)
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    assert len(fake.calls("GET", "^/token")) == 1
    path = next(path for _, path, _ in fake.requests if path.startswith("/token"))
    assert "scope=repository%3Aa%3Apull%2Cpush" in path


def test_a_token_that_runs_out_in_mid_push_is_renewed(
    large: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    login(tmp_path, fake.host, "ann:pw")
    challenge = f'Bearer realm="http://{fake.host}/token",service="reg"'
    expired = on(
        "PUT",
        "uploads",
        lambda handler: handler.refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge),
    )
    fake.faults += [times(1, expired), asks_for_a_token]
    push(large.layout, large.digest, f"{fake.host}/a", tag="1")
    assert len(fake.calls("GET", "^/token")) == 2


@pytest.mark.parametrize("pair", ["ann:wrong", ""])
def test_a_refused_login_says_what_to_do(
    signed: Any, fake: FakeRegistry, tmp_path: Path, pair: str
) -> None:
    if pair:
        login(tmp_path, fake.host, pair)
    fake.faults.append(asks_for_a_token)
    with pytest.raises(RegistryError, match="status 401") as caught:
        push(signed.layout, signed.digest, f"{fake.host}/a")
    assert "login" in caught.value.hint
    assert "wrong" not in str(caught.value.args)


def test_a_basic_login_is_sent_only_after_it_was_asked_for(
    signed: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    login(tmp_path, fake.host, "ann:pw")

    def asks(handler: Handler) -> bool:
        if handler.headers.get("Authorization", "").startswith("Basic "):
            return False
        return handler.refuse(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="r"')

    push(signed.layout, signed.digest, f"{fake.host}/open")
    assert not any("Authorization" in headers for _, _, headers in fake.requests)
    fake.faults.append(asks)
    push(signed.layout, signed.digest, f"{fake.host}/closed", tag="1")
    assert "1" in fake.manifests


def test_a_redirect_to_another_host_gets_no_credentials(
    signed: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    login(tmp_path, fake.host, "ann:pw")
    fake.faults.append(asks_for_a_token)
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    with served(FakeRegistry()) as storage:
        storage.blobs = fake.blobs

        def redirect(handler: Handler) -> bool:
            handler.reply(307, Location=f"http://{storage.host}{handler.path}")
            return True

        fake.faults.append(on("GET", "blobs", redirect))
        pull(f"{fake.host}/a:1", tmp_path / "other")
        assert storage.requests
        assert not any("Authorization" in headers for _, _, headers in storage.requests)
    verify_layout_package(tmp_path / "other", signed.digest, publishers=None)


def test_a_circle_of_redirects_ends(fake: FakeRegistry, tmp_path: Path) -> None:
    def circle(handler: Handler) -> bool:
        handler.reply(307, Location=handler.path)
        return True

    fake.faults.append(circle)
    with pytest.raises(RegistryError, match="in a circle"):
        pull(f"{fake.host}/a:1", tmp_path / "other")
    assert len(fake.requests) < 10


def test_a_redirect_to_a_file_is_refused(fake: FakeRegistry, tmp_path: Path) -> None:
    def redirect(handler: Handler) -> bool:
        handler.reply(307, Location="file:///etc/passwd")
        return True

    fake.faults.append(redirect)
    with pytest.raises(RegistryError, match="not safe"):
        pull(f"{fake.host}/a:1", tmp_path / "other")


def test_a_registry_that_is_not_there_is_named_at_once(signed: Any) -> None:
    with served(FakeRegistry()) as server:
        host = server.host
    with pytest.raises(RegistryError, match="cannot be reached") as caught:
        push(signed.layout, signed.digest, f"{host}/a")
    assert host in caught.value.message
    assert "running" in caught.value.hint


OTHER_MACHINE = """
import sys
from pathlib import Path
from edgectl.errors import RegistryError
from edgectl.package.registry import RetryPolicy, pull
try:
    print(pull(sys.argv[1], Path(sys.argv[2]), insecure=sys.argv[3] == "insecure",
               policy=RetryPolicy(attempts=1)))
except RegistryError as error:
    print(error.message, "|", error.hint)
"""


def pull_as_from_another_machine(
    reference: str, store: Path, how: str = "secure", **environment: str
) -> str:
    """Pull through an address that is not loopback by name, though it leads here."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_MACHINE, reference, store, how],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "no_proxy": "*", **environment},
    )
    return done.stdout


def test_plain_http_to_another_machine_has_to_be_allowed(
    signed: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    reference = f"{fake.host.replace('127.0.0.1', '0.0.0.0')}/a:1"
    fake.requests.clear()
    refused = pull_as_from_another_machine(reference, tmp_path / "other")
    assert "cannot be trusted" in refused
    assert "plain HTTP" in refused
    assert fake.calls("GET", ".") == []
    allowed = pull_as_from_another_machine(reference, tmp_path / "other", "insecure")
    assert allowed.strip() == signed.digest


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("0.0.0.0"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "tls.pem").write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "tls.pem"


def test_a_certificate_is_checked_against_the_users_authority(
    signed: Any, fake: FakeRegistry, tmp_path: Path
) -> None:
    push(signed.layout, signed.digest, f"{fake.host}/a", tag="1")
    server = FakeRegistry()
    server.blobs, server.manifests = fake.blobs, fake.manifests
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with served(server):
        reference = f"{server.host.replace('127.0.0.1', '0.0.0.0')}/a:1"
        refused = pull_as_from_another_machine(reference, tmp_path / "other")
        assert "cannot be trusted" in refused
        assert "certificate" in refused
        authority = str(tmp_path / "ca.pem")
        trusted = pull_as_from_another_machine(
            reference, tmp_path / "other", SSL_CERT_FILE=authority
        )
    assert trusted.strip() == signed.digest
