"""The same against whole registries: docker's own where it is installed, and the emulators'."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import ec
from edge_packages import Publisher
from msgspec.structs import replace
from releases import REPOSITORY, Published, publish

from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import MANIFEST_TYPE
from edge_components.contract.release import MANIFEST_FILE, RELEASE_FILE, ReleaseDocument
from edge_components.contract.state import Reason
from edge_components.oci import FetchSettings, fetch_release
from edge_components.oci.documents import referrers_tag
from edge_components.oci.http import INDEX_TYPE, Access
from edge_components.update.errors import RefusedError
from edge_components.verify import load_publishers, verify_release
from edgectl.api import push_release
from edgectl.emulation.certificates import Authority
from edgectl.emulation.registry import Access as Rights
from edgectl.emulation.registry import RegistryFault, RegistryServer
from edgectl.emulation.registry.access import Passwords
from edgectl.package.keys import SigningKey
from edgectl.package.registry import push
from edgectl.package.sign import sign_package, sign_release
from edgectl.testing.conformance.base import build_tiny_package

USER = ("reader", "geheim")


class Upload:
    """Puts a release into a registry by the requests of the distribution specification."""

    def __init__(self, base: str, *, ca: Path | None = None, bearer: bool = False) -> None:
        self._base = f"{base}/v2/{REPOSITORY}/"
        context = ssl.create_default_context(cafile=str(ca)) if ca else None
        self._pool = urllib3.PoolManager(retries=False, timeout=10, ssl_context=context)
        self._headers: dict[str, str] = {}
        if bearer:
            scope = f"repository:{REPOSITORY}:pull,push"
            answer = self._pool.request(
                "GET",
                f"{base}/oauth2/token",
                fields={"service": "any", "scope": scope},
                headers=urllib3.make_headers(basic_auth=":".join(USER)),
            )
            assert answer.status == 200, answer.data
            self._headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def release(self, published: Published, *, list_signatures: bool) -> None:
        for digest, data in published.blobs.items():
            begun = self._send("POST", "blobs/uploads/", b"", {}, 202)
            where = urljoin(self._base, begun)
            separator = "&" if "?" in where else "?"
            kind = {"Content-Type": "application/octet-stream"}
            self._send("PUT", f"{where}{separator}digest={digest}", data, kind, 201)
        for digest in (published.package.digest, *published.manifests):
            data = published.manifests[digest]
            self._send("PUT", f"manifests/{digest}", data, {"Content-Type": MANIFEST_TYPE}, 201)
        if list_signatures:
            tag = referrers_tag(published.package.digest)
            kind = {"Content-Type": INDEX_TYPE}
            self._send("PUT", f"manifests/{tag}", published.referrers, kind, 201)

    def _send(
        self, method: str, href: str, data: bytes, headers: dict[str, str], status: int
    ) -> str:
        url = urljoin(self._base, href)
        sent = {**self._headers, **headers}
        answer = self._pool.request(method, url, body=data, headers=sent)
        assert answer.status == status, (method, url, answer.status, answer.data)
        return answer.headers.get("Location", "")

    def close(self) -> None:
        self._pool.clear()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def docker_registry(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is missing: apt-get install docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"http: {{addr: '{host}'}}\n"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while not answers(int(host.partition(":")[2])):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield host
    process.kill()
    process.wait()


def assert_fetched(folder: Path, one: Published) -> None:
    assert (folder / RELEASE_FILE).read_bytes() == one.envelope
    for digest, data in one.package.blobs.items():
        assert (folder / digest.removeprefix("sha256:")).read_bytes() == data


def test_a_release_comes_from_dockers_registry(
    docker_registry: str, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = publish(publisher, weights={"int8": os.urandom(100_000)})
    upload = Upload(f"http://{docker_registry}")
    # Version 2 of it has no referrers API: the signature is listed under the tag.
    upload.release(one, list_signatures=True)
    upload.close()
    fetch_release(f"{docker_registry}/{REPOSITORY}", one.digest, tmp_path / "d", settings=quick)
    assert_fetched(tmp_path / "d", one)


@pytest.fixture
def emulated(tmp_path: Path) -> Iterator[tuple[RegistryServer, Path]]:
    """A registry with TLS and bearer tokens, and the authority to trust."""
    authority = Authority(tmp_path / "tls")
    context = authority.server_context(("localhost", "127.0.0.1"), demand=False)
    rights = Rights(Passwords(dict([USER])))
    server = RegistryServer(tmp_path / "data", tls=context, access=rights, name="localhost")
    with server:
        yield server, authority.ca_file


def as_reader(server: RegistryServer, ca: Path, folder: Path, password: str = USER[1]) -> Access:
    file = folder / "registry.json"
    login = {"username": USER[0], "password": password}
    file.write_text(json.dumps({"auths": {server.host: login}}))
    return Access(auth_file=file, ca_file=ca)


@pytest.fixture
def published(emulated: tuple[RegistryServer, Path], publisher: Publisher) -> Published:
    server, ca = emulated
    one = publish(publisher, weights={"int8": os.urandom(300_000)})
    upload = Upload(server.url, ca=ca, bearer=True)
    upload.release(one, list_signatures=False)
    upload.close()
    return one


def test_a_release_comes_over_tls_from_a_registry_that_asks_for_a_token(
    emulated: tuple[RegistryServer, Path],
    published: Published,
    quick: FetchSettings,
    tmp_path: Path,
) -> None:
    server, ca = emulated
    access = as_reader(server, ca, tmp_path)
    reference = f"{server.host}/{REPOSITORY}"
    fetch_release(reference, published.digest, tmp_path / "d", access=access, settings=quick)
    assert_fetched(tmp_path / "d", published)


def test_cut_and_throttled_in_turn_every_byte_is_sent_about_once(
    emulated: tuple[RegistryServer, Path],
    published: Published,
    quick: FetchSettings,
    tmp_path: Path,
) -> None:
    server, ca = emulated
    digest = next(d for d, data in published.package.blobs.items() if len(data) == 300_000)
    faults = server.faults
    faults.add(RegistryFault(path=digest, cut_after=200_000))
    faults.add(RegistryFault(path=digest, status=429, retry_after="0"))
    faults.add(RegistryFault(path=f"manifests/{published.digest}", status=503))
    access = as_reader(server, ca, tmp_path)
    reference = f"{server.host}/{REPOSITORY}"
    fetch_release(reference, published.digest, tmp_path / "d", access=access, settings=quick)
    assert_fetched(tmp_path / "d", published)
    statuses = [status for _, path, status, _ in server.counted() if path.endswith(digest)]
    assert 206 in statuses
    assert 429 in statuses


def test_bytes_that_are_corrupted_on_the_way_are_fetched_again(
    emulated: tuple[RegistryServer, Path],
    published: Published,
    quick: FetchSettings,
    tmp_path: Path,
) -> None:
    server, ca = emulated
    server.faults.add(RegistryFault(path="/(manifests|blobs)/", corrupt=True, times=2))
    access = as_reader(server, ca, tmp_path)
    reference = f"{server.host}/{REPOSITORY}"
    fetch_release(reference, published.digest, tmp_path / "d", access=access, settings=quick)
    assert_fetched(tmp_path / "d", published)


def test_a_wrong_password_and_an_authority_that_is_not_trusted_are_told_apart(
    emulated: tuple[RegistryServer, Path],
    published: Published,
    quick: FetchSettings,
    tmp_path: Path,
) -> None:
    server, ca = emulated
    reference = f"{server.host}/{REPOSITORY}"
    stranger = Authority(tmp_path / "other").ca_file
    few = replace(quick, policy=replace(quick.policy, fruitless=1))
    for access, word in (
        (as_reader(server, ca, tmp_path, "wrong"), "401"),
        (Access(ca_file=stranger), "CERTIFICATE_VERIFY_FAILED"),
    ):
        with pytest.raises(RefusedError) as caught:
            fetch_release(reference, published.digest, tmp_path / "d", access=access, settings=few)
        assert caught.value.reason is Reason.DOWNLOAD_FAILED
        assert word in caught.value.detail


def test_what_the_operators_side_pushes_is_what_a_device_fetches(
    quick: FetchSettings, tmp_path: Path
) -> None:
    key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    package = build_tiny_package("plates", "1.0.0", tmp_path, key)
    document = ReleaseDocument(
        application="plates", number=4, version="1.0.0", package=package.digest
    )
    signature = sign_package(package.layout, package.digest, key)
    envelope = sign_release(document, signature, key).envelope
    with RegistryServer(tmp_path / "data") as server:
        reference = f"{server.host}/{REPOSITORY}"
        push(package.layout, package.digest, reference)
        place = push_release(envelope, package.digest, reference, "plates", 4)
        fetch_release(
            reference, place.digest, tmp_path / "d", hardware="x86-64-cpu", settings=quick
        )
    assert (tmp_path / "d" / RELEASE_FILE).read_bytes() == envelope
    assert sha256_digest((tmp_path / "d" / MANIFEST_FILE).read_bytes()) == package.digest
    assert verify_release(envelope, load_publishers([key.public_pem])).number == 4
