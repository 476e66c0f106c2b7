"""Releases in a registry: ours, which is strict, and a real one, which is old."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from edge_components.contract.release import ReleaseDocument
from edgectl.api import list_releases, push_package, push_release, read_release
from edgectl.emulation.registry import RegistryFault, RegistryServer
from edgectl.errors import ConflictError, PackageError, RegistryError
from edgectl.package.keys import SigningKey, ensure_key
from edgectl.package.sign import sign_release


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    """Our registry, two tags to a page."""
    with RegistryServer(tmp_path / "registry", page_size=2) as started:
        yield started


@pytest.fixture(params=["ours", "real"])
def place(request: pytest.FixtureRequest, signed: Any) -> str:
    """A repository that has the package."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    fixture = "server" if request.param == "ours" else "registry"
    found = request.getfixturevalue(fixture)
    reference = f"{getattr(found, 'host', found)}/edgectl/p{name}"
    push_package(signed.layout, signed.digest, reference)
    return reference


@pytest.fixture
def envelope(signed: Any, key: SigningKey) -> Callable[..., bytes]:
    """Return a function that signs a release of the package."""

    def make(number: int, *, by: SigningKey = key, **changes: Any) -> bytes:
        values = {"application": "plates", "version": "1.4.0", "package": signed.digest}
        document = ReleaseDocument(number=number, **(values | changes))
        return sign_release(document, b"{}", by).envelope

    return make


def test_a_release_comes_back_as_it_was_pushed(
    place: str, signed: Any, envelope: Callable[..., bytes]
) -> None:
    pushed = push_release(envelope(7), signed.digest, place, "plates", 7)
    by_number, by_digest = read_release(place, 7), read_release(place, pushed.digest)
    assert by_number == by_digest
    assert (by_number.envelope, by_number.package) == (envelope(7), signed.digest)
    assert by_number.document.version == "1.4.0"


def test_pushing_a_release_again_sends_nothing(
    place: str, signed: Any, envelope: Callable[..., bytes]
) -> None:
    first = push_release(envelope(1), signed.digest, place, "plates", 1)
    again = push_release(envelope(1), signed.digest, place, "plates", 1)
    assert first.uploaded_bytes > len(envelope(1))
    assert (again.digest, again.uploaded_bytes) == (first.digest, 0)


def test_a_number_never_gets_another_content(
    place: str, signed: Any, envelope: Callable[..., bytes], tmp_path: Path
) -> None:
    push_release(envelope(1), signed.digest, place, "plates", 1)
    other = envelope(1, by=ensure_key(tmp_path / "other.pem"))
    with pytest.raises(ConflictError, match="another release under 'r1'"):
        push_release(other, signed.digest, place, "plates", 1)
    assert read_release(place, 1).envelope == envelope(1)


def test_releases_are_listed_newest_first(
    place: str, signed: Any, envelope: Callable[..., bytes]
) -> None:
    push_package(signed.layout, signed.digest, place, tag="rubbish")
    for number in (2, 10, 1, 9, 100):
        push_release(envelope(number), signed.digest, place, "plates", number)
    assert [one.number for one in list_releases(place)] == [100, 10, 9, 2, 1]
    assert [one.number for one in list_releases(place, limit=2, before=10)] == [9, 2]


def test_a_repository_that_nobody_pushed_to_has_no_releases(server: RegistryServer) -> None:
    assert list_releases(f"{server.host}/edgectl/none") == ()


def test_a_release_that_is_not_there_is_named(place: str) -> None:
    with pytest.raises(RegistryError, match="has no release 'r5'"):
        read_release(place, 5)


def test_a_release_needs_its_package_first(
    server: RegistryServer, signed: Any, envelope: Callable[..., bytes]
) -> None:
    with pytest.raises(RegistryError, match="has no package") as raised:
        push_release(envelope(1), signed.digest, f"{server.host}/other", "plates", 1)
    assert raised.value.hint == "Push the package first."


def test_an_envelope_with_another_release_is_not_pushed(
    server: RegistryServer, signed: Any, envelope: Callable[..., bytes]
) -> None:
    with pytest.raises(PackageError, match="holds release 2 of 'plates'"):
        push_release(envelope(2), signed.digest, f"{server.host}/x", "plates", 1)
    assert not server.requests


def test_a_reference_with_a_tag_is_refused(server: RegistryServer) -> None:
    with pytest.raises(RegistryError, match="in place of a repository"):
        list_releases(f"{server.host}/x:r1")


def test_whoever_loses_a_race_for_a_number_is_told(
    server: RegistryServer, signed: Any, envelope: Callable[..., bytes], tmp_path: Path
) -> None:
    place = f"{server.host}/race"
    push_package(signed.layout, signed.digest, place)
    push_release(envelope(1), signed.digest, place, "plates", 1)
    server.faults.add(RegistryFault(method="HEAD", path="manifests/r1$", status=404))
    other = envelope(1, by=ensure_key(tmp_path / "other.pem"))
    server.faults.add(RegistryFault(method="PUT", path="manifests/r1$", status=201))
    with pytest.raises(ConflictError):
        push_release(other, signed.digest, place, "plates", 1)


def test_a_tag_that_is_no_release_is_an_error(server: RegistryServer, signed: Any) -> None:
    place = f"{server.host}/wrong"
    push_package(signed.layout, signed.digest, place, tag="r1")
    with pytest.raises(PackageError, match="is not a release"):
        list_releases(place)


def test_a_release_under_another_number_is_an_error(
    server: RegistryServer, signed: Any, envelope: Callable[..., bytes]
) -> None:
    place = f"{server.host}/moved"
    push_package(signed.layout, signed.digest, place)
    pushed = push_release(envelope(1), signed.digest, place, "plates", 1)
    with urllib3.PoolManager() as pool:
        url = f"{server.url}/v2/moved/manifests/"
        data = pool.request("GET", url + pushed.digest).data
        kind = json.loads(data)["mediaType"]
        pool.request("PUT", f"{url}r2", body=data, headers={"Content-Type": kind})
    with pytest.raises(PackageError, match="says otherwise"):
        read_release(place, 2)


def test_a_cut_connection_is_tried_again(
    server: RegistryServer, signed: Any, envelope: Callable[..., bytes]
) -> None:
    place = f"{server.host}/cut"
    push_package(signed.layout, signed.digest, place)
    push_release(envelope(1), signed.digest, place, "plates", 1)
    server.faults.add(RegistryFault(method="GET", path="/blobs/", cut_after=10))
    assert read_release(place, 1).envelope == envelope(1)


def test_changed_content_is_seen(
    server: RegistryServer, signed: Any, envelope: Callable[..., bytes]
) -> None:
    place = f"{server.host}/changed"
    push_package(signed.layout, signed.digest, place)
    push_release(envelope(1), signed.digest, place, "plates", 1)
    server.faults.add(RegistryFault(method="GET", path="/blobs/", corrupt=True))
    with pytest.raises(RegistryError, match="sent other content"):
        read_release(place, 1)
