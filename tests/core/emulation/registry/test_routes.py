"""The registry's routes, as the distribution specification words them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from edgectl.emulation.registry import RegistryServer

DATA = bytes(range(256)) * 40
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
OTHER = "sha256:" + "0" * 64


def code(answer: Any) -> str:
    return str(json.loads(answer.data)["errors"][0]["code"])


def test_the_base_route_says_that_this_is_a_registry(client: Any) -> None:
    answer = client("GET", "/v2/")
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_a_blob_comes_in_one_request(client: Any) -> None:
    client.push_blob("a/b", DATA)
    answer = client("GET", f"/v2/a/b/blobs/{DIGEST}")
    assert (answer.status, answer.data) == (200, DATA)
    head = client("HEAD", f"/v2/a/b/blobs/{DIGEST}")
    assert head.headers["Content-Length"] == str(len(DATA))


def test_a_blob_comes_in_chunks(client: Any) -> None:
    place = client("POST", "/v2/a/blobs/uploads/").headers["Location"]
    for begin in range(0, len(DATA), 4000):
        part = DATA[begin : begin + 4000]
        span = f"{begin}-{begin + len(part) - 1}"
        answer = client("PATCH", place, part, Content_Range=span)
        assert answer.status == 202
        assert answer.headers["Range"] == f"0-{begin + len(part) - 1}"
        place = answer.headers["Location"]
    assert client("PUT", f"{place}&digest={DIGEST}").status == 201
    assert client("GET", f"/v2/a/blobs/{DIGEST}").data == DATA


def test_a_chunk_out_of_order_is_refused_and_told_where_to_go_on(client: Any) -> None:
    place = client("POST", "/v2/a/blobs/uploads/").headers["Location"]
    client("PATCH", place, DATA[:100], Content_Range="0-99")
    answer = client("PATCH", place, DATA[200:300], Content_Range="200-299")
    assert (answer.status, answer.headers["Range"]) == (416, "0-99")
    assert client("GET", place).headers["Range"] == "0-99"


def test_a_chunk_without_a_length_is_taken(client: Any) -> None:
    place = client("POST", "/v2/a/blobs/uploads/").headers["Location"]
    client("PATCH", place, iter([DATA[:5], DATA[5:]]), Transfer_Encoding="chunked")
    assert client("PUT", f"{place}&digest={DIGEST}").status == 201


def test_an_upload_that_was_given_up_is_gone(client: Any) -> None:
    place = client("POST", "/v2/a/blobs/uploads/").headers["Location"]
    assert client("DELETE", place).status == 204
    assert code(client("PUT", f"{place}&digest={DIGEST}", DATA)) == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_belongs_to_its_repository(client: Any) -> None:
    place = client("POST", "/v2/a/blobs/uploads/").headers["Location"]
    moved = place.replace("/v2/a/", "/v2/b/")
    assert client("PATCH", moved, DATA).status == 404


def test_content_with_another_digest_is_not_kept(client: Any) -> None:
    answer = client("POST", f"/v2/a/blobs/uploads/?digest={OTHER}", DATA)
    assert (answer.status, code(answer)) == (400, "DIGEST_INVALID")
    assert client("HEAD", f"/v2/a/blobs/{DIGEST}").status == 404


def test_a_blob_of_another_repository_is_not_there_until_it_is_mounted(client: Any) -> None:
    client.push_blob("a", DATA)
    assert code(client("GET", f"/v2/b/blobs/{DIGEST}")) == "BLOB_UNKNOWN"
    assert client("POST", f"/v2/b/blobs/uploads/?mount={DIGEST}&from=a").status == 201
    assert client("GET", f"/v2/b/blobs/{DIGEST}").data == DATA


def test_a_mount_of_what_is_not_there_becomes_an_upload(client: Any) -> None:
    answer = client("POST", f"/v2/b/blobs/uploads/?mount={DIGEST}&from=a")
    assert answer.status == 202
    assert "Location" in answer.headers


@pytest.mark.parametrize(
    ("asked", "part", "span"),
    [
        ("bytes=0-9", DATA[:10], "bytes 0-9/10240"),
        ("bytes=10000-", DATA[10000:], "bytes 10000-10239/10240"),
        ("bytes=-40", DATA[-40:], "bytes 10200-10239/10240"),
        ("bytes=10239-99999", DATA[-1:], "bytes 10239-10239/10240"),
    ],
)
def test_a_part_of_a_blob_is_given(client: Any, asked: str, part: bytes, span: str) -> None:
    client.push_blob("a", DATA)
    answer = client("GET", f"/v2/a/blobs/{DIGEST}", Range=asked)
    assert (answer.status, answer.data, answer.headers["Content-Range"]) == (206, part, span)


def test_a_part_behind_the_end_is_refused(client: Any) -> None:
    client.push_blob("a", DATA)
    answer = client("GET", f"/v2/a/blobs/{DIGEST}", Range="bytes=10240-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10240")


def test_a_manifest_is_there_by_tag_and_by_digest(client: Any) -> None:
    digest = client.image("a", "1.0")
    by_tag = client("GET", "/v2/a/manifests/1.0")
    assert by_tag.headers["Docker-Content-Digest"] == digest
    assert by_tag.data == client("GET", f"/v2/a/manifests/{digest}").data


def test_a_manifest_whose_blob_is_missing_is_refused(client: Any) -> None:
    layer = {"mediaType": "x/y", "digest": OTHER, "size": 1}
    document = client.document("a", layers=[layer])
    assert code(client.push_manifest("a", "1", document)) == "MANIFEST_BLOB_UNKNOWN"


def test_a_manifest_that_says_another_size_is_refused(client: Any) -> None:
    document = client.document("a")
    document["config"]["size"] = 3
    assert code(client.push_manifest("a", "1", document)) == "SIZE_INVALID"


def test_an_index_whose_manifest_is_missing_is_refused(client: Any) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": "x/y", "digest": OTHER, "size": 1}
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}
    assert code(client.push_manifest("a", "1", document)) == "MANIFEST_BLOB_UNKNOWN"


def test_a_manifest_under_another_digest_is_refused(client: Any) -> None:
    answer = client.push_manifest("a", OTHER, client.document("a"))
    assert code(answer) == "DIGEST_INVALID"


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": 1},
        {"mediaType": "text/plain"},
        {"config": None},
        {"layers": {}},
        {"manifests": []},
        {"annotations": {"a": 1}},
        {"artifactType": 5},
        {"subject": {"digest": OTHER}},
    ],
)
def test_a_malformed_manifest_is_refused(client: Any, change: dict[str, Any]) -> None:
    answer = client.push_manifest("a", "1", client.document("a", **change))
    assert (answer.status, code(answer)) == (400, "MANIFEST_INVALID")


def test_a_client_that_does_not_take_the_manifests_type_gets_none(client: Any) -> None:
    client.image("a", "1")
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    assert code(client("GET", "/v2/a/manifests/1", Accept=docker)) == "MANIFEST_UNKNOWN"


def test_tags_come_in_pages_in_order(
    make_registry: Callable[..., RegistryServer], client_of: Callable[..., Any]
) -> None:
    client = client_of(make_registry(page_size=2))
    for tag in ("r10", "r2", "R1", "r1", "latest"):
        client.image("a", tag)
    first = client("GET", "/v2/a/tags/list?n=9")
    assert json.loads(first.data) == {"name": "a", "tags": ["R1", "latest"]}
    assert first.headers["Link"] == '</v2/a/tags/list?last=latest&n=2>; rel="next"'
    last = client("GET", "/v2/a/tags/list?last=r10&n=2")
    assert json.loads(last.data)["tags"] == ["r2"]
    assert "Link" not in last.headers


def test_an_unknown_repository_has_no_tags(client: Any) -> None:
    assert code(client("GET", "/v2/nobody/tags/list")) == "NAME_UNKNOWN"
    assert client("GET", "/v2/a/tags/list?n=x").status in {400, 404}


def test_repositories_are_listed(client: Any) -> None:
    client.image("b/c")
    client.image("a")
    assert json.loads(client("GET", "/v2/_catalog").data) == {"repositories": ["a", "b/c"]}


def test_what_refers_to_a_manifest_is_listed_by_type(client: Any) -> None:
    subject = client.image("a")
    pointer = {"mediaType": "x/y", "digest": subject, "size": 1}
    notes = {"annotations": {"k": "v"}}
    referrer = client.image("a", "s", subject=pointer, **notes)
    client.image("a", "t", subject=pointer, artifactType="application/x.other")
    everything = json.loads(client("GET", f"/v2/a/referrers/{subject}").data)
    assert len(everything["manifests"]) == 2
    answer = client("GET", f"/v2/a/referrers/{subject}?artifactType=application/x.test")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    (entry,) = json.loads(answer.data)["manifests"]
    assert (entry["digest"], entry["annotations"]) == (referrer, {"k": "v"})


def test_a_pusher_is_told_that_the_subject_was_seen(client: Any) -> None:
    subject = {"mediaType": "x/y", "digest": OTHER, "size": 1}
    answer = client.push_manifest("a", "1", client.document("a", subject=subject))
    assert answer.headers["OCI-Subject"] == OTHER


def test_what_nothing_refers_to_has_an_empty_list(client: Any) -> None:
    answer = client("GET", f"/v2/a/referrers/{OTHER}")
    assert (answer.status, json.loads(answer.data)["manifests"]) == (200, [])


def test_an_old_registry_has_no_referrers(
    make_registry: Callable[..., RegistryServer], client_of: Callable[..., Any]
) -> None:
    client = client_of(make_registry(referrers_api=False))
    subject = {"mediaType": "x/y", "digest": OTHER, "size": 1}
    answer = client.push_manifest("a", "1", client.document("a", subject=subject))
    assert "OCI-Subject" not in answer.headers
    assert client("GET", f"/v2/a/referrers/{OTHER}").status == 404


def test_a_deleted_manifest_takes_its_tags_along(client: Any) -> None:
    digest = client.image("a", "1")
    client.image("a", "2")
    assert client("DELETE", f"/v2/a/manifests/{digest}").status == 202
    assert json.loads(client("GET", "/v2/a/tags/list").data)["tags"] == []
    assert client("HEAD", f"/v2/a/manifests/{digest}").status == 404


def test_a_deleted_tag_leaves_the_manifest(client: Any) -> None:
    digest = client.image("a", "1")
    assert client("DELETE", "/v2/a/manifests/1").status == 202
    assert client("HEAD", "/v2/a/manifests/1").status == 404
    assert client("HEAD", f"/v2/a/manifests/{digest}").status == 200


def test_a_registry_may_forbid_to_delete(
    make_registry: Callable[..., RegistryServer], client_of: Callable[..., Any]
) -> None:
    client = client_of(make_registry(delete=False))
    client.image("a", "1")
    assert code(client("DELETE", "/v2/a/manifests/1")) == "UNSUPPORTED"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/A/manifests/1", "NAME_INVALID"),
        ("/v2/a..b/manifests/1", "NAME_INVALID"),
        ("/v2/a/manifests/.x", "TAG_INVALID"),
        ("/v2/a/manifests/sha256:12", "DIGEST_INVALID"),
        ("/v2/a/blobs/sha256:12", "DIGEST_INVALID"),
        ("/v2/a/nothing", "NAME_UNKNOWN"),
        ("/v2/%2E%2E/etc/manifests/1", "NAME_INVALID"),
    ],
)
def test_a_malformed_path_is_refused(client: Any, path: str, expected: str) -> None:
    assert code(client("GET", path)) == expected


def test_content_outlives_the_registry(
    make_registry: Callable[..., RegistryServer], client_of: Callable[..., Any]
) -> None:
    first = make_registry()
    digest = client_of(first).image("a", "1")
    first.stop()
    again = client_of(make_registry())
    assert again("HEAD", "/v2/a/manifests/1").headers["Docker-Content-Digest"] == digest
