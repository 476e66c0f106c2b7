"""The storage account, by Microsoft's own SDK: content, lists, and who may."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    BlobBlock,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    generate_container_sas,
)

from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.blob.room import ACCOUNT, BlobRoom


@pytest.fixture
def room(account: RunningAccount, surroundings: None) -> BlobRoom:
    """The storage account."""
    return account.site.find(BlobRoom)


@pytest.fixture
def service(room: BlobRoom) -> Iterator[BlobServiceClient]:
    """A client with the account's key, which does not try again."""
    with BlobServiceClient(room.url, credential=room.key, retry_total=0) as client:
        yield client


@pytest.fixture
def container(service: BlobServiceClient, name: str) -> ContainerClient:
    """An empty container."""
    return service.create_container(name)


def test_a_blob_comes_back_as_it_was_sent(container: ContainerClient) -> None:
    container.upload_blob("a/b ü+%.txt", b"content", metadata={"kind": "x"})
    blob = container.get_blob_client("a/b ü+%.txt")
    found = blob.get_blob_properties()
    assert blob.download_blob().readall() == b"content"
    assert (found.metadata, found.size, found.blob_type) == ({"kind": "x"}, 7, "BlockBlob")


def test_a_large_blob_travels_in_blocks_and_parts(
    room: BlobRoom, name: str, service: BlobServiceClient
) -> None:
    service.create_container(name)
    sizes = {"max_single_put_size": 4096, "max_block_size": 4096, "max_single_get_size": 5000}
    with ContainerClient(
        room.url, name, credential=room.key, max_chunk_get_size=5000, **sizes
    ) as client:
        data = os.urandom(33_333)
        client.upload_blob("large", data, max_concurrency=2)
        assert client.download_blob("large", max_concurrency=2).readall() == data
        assert client.download_blob("large", offset=10, length=5).readall() == data[10:15]


def test_blocks_that_were_never_sent_cannot_be_committed(container: ContainerClient) -> None:
    blob = container.get_blob_client("x")
    blob.stage_block("0001", b"one")
    with pytest.raises(HttpResponseError) as raised:
        blob.commit_block_list([BlobBlock("0001"), BlobBlock("0002")])
    assert raised.value.error_code == "InvalidBlockList"
    assert blob.get_block_list("uncommitted")[1][0].size == 3


def test_a_list_has_prefixes_pages_and_metadata(container: ContainerClient) -> None:
    for place in ("a/1", "a/2", "b/1", "c"):
        container.upload_blob(place, b"x", metadata={"at": place[0]})
    pages = container.list_blobs(results_per_page=3, include="metadata").by_page()
    listed = [[(one.name, one.metadata["at"]) for one in page] for page in pages]
    assert listed == [[("a/1", "a"), ("a/2", "a"), ("b/1", "b")], [("c", "c")]]
    assert [one.name for one in container.walk_blobs(delimiter="/")] == ["a/", "b/", "c"]
    assert [one.name for one in container.list_blobs(name_starts_with="a/")] == ["a/1", "a/2"]


def test_what_is_there_is_not_written_over_unasked(container: ContainerClient) -> None:
    container.upload_blob("x", b"one")
    with pytest.raises(ResourceExistsError) as raised:
        container.upload_blob("x", b"two")
    assert raised.value.error_code == "BlobAlreadyExists"
    container.upload_blob("x", b"two", overwrite=True)
    assert container.download_blob("x").readall() == b"two"


def test_a_write_on_condition_fails_when_somebody_was_faster(container: ContainerClient) -> None:
    container.upload_blob("x", b"one")
    blob = container.get_blob_client("x")
    etag = blob.get_blob_properties().etag
    blob.set_blob_metadata({"changed": "yes"})
    with pytest.raises(ResourceModifiedError) as raised:
        blob.upload_blob(b"two", overwrite=True, etag=etag, match_condition=_unchanged())
    assert raised.value.error_code == "ConditionNotMet"


def _unchanged() -> Any:
    from azure.core import MatchConditions  # noqa: PLC0415 - used once

    return MatchConditions.IfNotModified


def test_a_deleted_blob_is_gone(container: ContainerClient) -> None:
    container.upload_blob("x", b"one")
    container.delete_blob("x")
    with pytest.raises(ResourceNotFoundError) as raised:
        container.download_blob("x")
    assert raised.value.error_code == "BlobNotFound"


def test_a_container_comes_and_goes(service: BlobServiceClient, name: str) -> None:
    service.create_container(name)
    with pytest.raises(ResourceExistsError):
        service.create_container(name)
    assert name in [one.name for one in service.list_containers()]
    service.delete_container(name)
    with pytest.raises(ResourceNotFoundError) as raised:
        service.get_container_client(name).upload_blob("x", b"")
    assert raised.value.error_code == "ContainerNotFound"


@pytest.mark.parametrize("container_name", ["A", "ab", "a--b", "-ab", "a" * 64])
def test_a_name_that_is_none_is_refused(service: BlobServiceClient, container_name: str) -> None:
    with pytest.raises(HttpResponseError) as raised:
        service.create_container(container_name)
    assert raised.value.error_code == "InvalidResourceName"


def test_a_wrong_key_is_refused(room: BlobRoom, container: ContainerClient) -> None:
    wrong = BlobServiceClient(room.url, credential="d3Jvbmc=", retry_total=0)
    with wrong, pytest.raises(ClientAuthenticationError) as raised:
        wrong.get_container_client(container.container_name).upload_blob("x", b"")
    assert raised.value.error_code == "AuthenticationFailed"


def test_nobody_in_particular_may_nothing(room: BlobRoom) -> None:
    nobody = BlobServiceClient(room.url, retry_total=0)
    with nobody, pytest.raises(HttpResponseError) as raised:
        list(nobody.list_containers())
    assert raised.value.status_code == 401


def test_a_clock_that_is_off_is_refused(
    account: RunningAccount, container: ContainerClient
) -> None:
    account.site.ahead_s = 3600.0
    try:
        with pytest.raises(ClientAuthenticationError):
            container.upload_blob("x", b"")
    finally:
        account.site.ahead_s = 0.0


def sas(room: BlobRoom, container: str, *, minutes: float = 5, **may: bool) -> str:
    return generate_container_sas(
        ACCOUNT,
        container,
        account_key=room.key,
        permission=ContainerSasPermissions(**may),
        expiry=datetime.now(UTC) + timedelta(minutes=minutes),
    )


def test_a_signature_allows_what_it_says(room: BlobRoom, container: ContainerClient) -> None:
    container.upload_blob("x", b"one")
    token = sas(room, container.container_name, read=True)
    with ContainerClient(room.url, container.container_name, credential=token) as client:
        assert client.download_blob("x").readall() == b"one"
        with pytest.raises(HttpResponseError) as raised:
            client.upload_blob("y", b"")
        assert raised.value.error_code == "AuthorizationPermissionMismatch"


@pytest.mark.parametrize("fault", ["expired", "another container", "changed"])
def test_a_signature_that_does_not_hold_is_refused(
    room: BlobRoom, container: ContainerClient, fault: str
) -> None:
    container.upload_blob("x", b"one")
    signed_for = "somewhere" if fault == "another container" else container.container_name
    token = sas(room, signed_for, minutes=-1 if fault == "expired" else 5, read=True)
    if fault == "changed":
        token = token.replace("sp=r", "sp=racwd")
    client = ContainerClient(room.url, container.container_name, credential=token, retry_total=0)
    with client, pytest.raises(ClientAuthenticationError):
        client.download_blob("x")


def test_our_own_signatures_hold(room: BlobRoom, container: ContainerClient) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)
    token = room.sas(f"/{container.container_name}", permissions="rwl", kind="c", until=until)
    url = f"{room.url}/{container.container_name}?{token}"
    with ContainerClient.from_container_url(url) as client:
        client.upload_blob("x", b"one")
        assert [one.name for one in client.list_blobs()] == ["x"]


def test_roles_decide_what_a_login_may(
    room: BlobRoom, container: ContainerClient, as_role: Callable[..., Any]
) -> None:
    writer, nobody = as_role("Storage Blob Data Contributor"), as_role("AcrPull")
    with ContainerClient(room.url, container.container_name, credential=writer) as client:
        client.upload_blob("x", b"one")
        assert client.download_blob("x").readall() == b"one"
    other = ContainerClient(room.url, container.container_name, credential=nobody)
    with other, pytest.raises(HttpResponseError) as raised:
        other.download_blob("x")
    assert raised.value.error_code == "AuthorizationPermissionMismatch"


def test_the_address_that_azure_mls_sdk_makes_is_the_accounts(
    room: BlobRoom, container: ContainerClient
) -> None:
    container.upload_blob("x", b"one")
    made = f"https://{room.account_name}.blob.anything"
    with BlobServiceClient(made, credential=room.key) as client:
        found = client.get_container_client(container.container_name).download_blob("x")
        assert found.readall() == b"one"


def test_content_outlives_the_account(room: BlobRoom, container: ContainerClient) -> None:
    from edgectl_azure_iot_edge.emulator.blob.store import Store  # noqa: PLC0415 - used once

    container.upload_blob("x", b"one", metadata={"a": "b"})
    container.upload_blob("y", b"two")
    container.delete_blob("y")
    again = Store(room.store._folder)
    assert again.names(container.container_name) == ["x"]
    assert again.read(container.container_name, "x") == b"one"
    assert again.get(container.container_name, "x").metadata == {"a": "b"}
