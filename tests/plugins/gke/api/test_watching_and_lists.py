"""Lists in pages and watches, on our server and on a real one."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from edgectl_gke_edge.emulator.kube.server import KubeServer

Server = Any


def config_map(name: str, namespace: str, **labels: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels))


@contextmanager
def watching(server: Server, path: str, **query: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Watch a path; yields an iterator of events."""
    context = ssl.create_default_context(cadata=server.ca)
    headers = {"Authorization": f"Bearer {server.token}"}
    params = {"watch": "true", "timeoutSeconds": "60", **query}
    with (
        httpx.Client(base_url=server.url, verify=context, headers=headers, timeout=30) as client,
        client.stream("GET", path, params=params) as answer,
    ):
        yield (json.loads(line) for line in answer.iter_lines())


def path_of(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def version_of(client: Client, namespace: str) -> str:
    listed = client.list(ConfigMap, namespace=namespace)
    list(listed)
    return listed.resourceVersion


def named(events: Iterator[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the next event of an object; a namespace of ours comes furnished with others."""
    return next(e for e in events if e["object"]["metadata"].get("name") == name)


def test_a_list_comes_in_pages_of_one_moment(client: Client, namespace: str) -> None:
    for number in range(5):
        client.create(config_map(f"c{number}", namespace, mine="yes"))
    pages = client.list(ConfigMap, namespace=namespace, labels={"mine": "yes"}, chunk_size=2)
    found = []
    for number, item in enumerate(pages):
        found.append(item.metadata.name if item.metadata else "")
        if number == 0:
            client.delete(ConfigMap, "c4", namespace=namespace)
    assert found == ["c0", "c1", "c2", "c3", "c4"]


def test_a_watch_tells_what_is_added_changed_and_deleted(
    server: Server, client: Client, namespace: str
) -> None:
    version = version_of(client, namespace)
    with watching(server, path_of(namespace), resourceVersion=version) as events:
        client.create(config_map("one", namespace))
        client.patch(ConfigMap, "one", {"data": {"a": "b"}}, namespace=namespace)
        client.delete(ConfigMap, "one", namespace=namespace)
        told = [named(events, "one") for _ in range(3)]
    assert [e["type"] for e in told] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in told]
    assert versions == sorted(set(versions))


def test_a_watch_without_a_version_begins_with_what_is_there(
    server: Server, client: Client, namespace: str
) -> None:
    client.create(config_map("one", namespace))
    with watching(server, path_of(namespace)) as events:
        assert named(events, "one")["type"] == "ADDED"


def test_a_watch_from_a_past_version_catches_up(
    server: Server, client: Client, namespace: str
) -> None:
    version = version_of(client, namespace)
    client.create(config_map("one", namespace))
    client.delete(ConfigMap, "one", namespace=namespace)
    with watching(server, path_of(namespace), resourceVersion=version) as events:
        assert [named(events, "one")["type"] for _ in range(2)] == ["ADDED", "DELETED"]


def test_what_leaves_a_watchs_selection_is_deleted_for_it(
    server: Server, client: Client, namespace: str
) -> None:
    version = version_of(client, namespace)
    query = {"resourceVersion": version, "labelSelector": "on=yes"}
    with watching(server, path_of(namespace), **query) as events:
        client.create(config_map("one", namespace))
        for value in ("yes", "no"):
            patch = {"metadata": {"labels": {"on": value}}}
            client.patch(ConfigMap, "one", patch, namespace=namespace)
        assert [next(events)["type"] for _ in range(2)] == ["ADDED", "DELETED"]


def test_initial_events_end_with_a_bookmark_where_the_version_has_them(
    server: Server, client: Client, namespace: str
) -> None:
    client.create(config_map("one", namespace, mine="yes"))
    query = {
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
        "labelSelector": "mine=yes",
    }
    with watching(server, path_of(namespace), **query) as events:
        first = next(events)
        if first.get("kind") == "Status":
            assert is_before(server, 1, 34)
            assert "sendInitialEvents is forbidden" in first["message"]
            return
        second = next(events)
    assert (first["type"], second["type"]) == ("ADDED", "BOOKMARK")
    assert second["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def is_before(server: Server, major: int, minor: int) -> bool:
    context = ssl.create_default_context(cadata=server.ca)
    headers = {"Authorization": f"Bearer {server.token}"}
    found = httpx.get(f"{server.url}/version", headers=headers, verify=context, timeout=30).json()
    return (int(found["major"]), int(found["minor"])) < (major, minor)


def test_a_watch_ends_when_its_time_is_over(server: Server, client: Client, namespace: str) -> None:
    version = version_of(client, namespace)
    query = {"resourceVersion": version, "timeoutSeconds": "1", "labelSelector": "mine=yes"}
    with watching(server, path_of(namespace), **query) as events:
        assert not [e for e in events if e["type"] != "BOOKMARK"]


def test_a_version_from_the_future_is_refused(server: Server, namespace: str) -> None:
    context = ssl.create_default_context(cadata=server.ca)
    headers = {"Authorization": f"Bearer {server.token}"}
    url = f"{server.url}{path_of(namespace)}?resourceVersion={10**15}"
    answer = httpx.get(url, headers=headers, verify=context, timeout=30)
    assert answer.status_code == 504
    assert "Too large resource version" in answer.json()["message"]


# Only ours can be made to forget.


def test_a_watch_from_a_forgotten_version_is_told_410(
    own: KubeServer, own_client: Client, own_namespace: str
) -> None:
    version = version_of(own_client, own_namespace)
    own_client.create(config_map("one", own_namespace))
    own.forget_events()
    with watching(own, path_of(own_namespace), resourceVersion=version) as events:
        event = next(events)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    assert event["object"]["reason"] == "Expired"


def test_a_page_of_a_forgotten_list_is_told_410(
    own: KubeServer, own_client: Client, own_namespace: str
) -> None:
    for number in range(3):
        own_client.create(config_map(f"c{number}", own_namespace))
    pages = iter(own_client.list(ConfigMap, namespace=own_namespace, chunk_size=2))
    next(pages)
    own.forget_events()
    with pytest.raises(ApiError, match="continue parameter is too old"):
        list(pages)


def test_bookmarks_come_to_those_who_ask(tmp_path: Path, connect: Callable[[str], Client]) -> None:
    with KubeServer(tmp_path, bookmark_every_s=0.05) as server:
        version = version_of(connect(server.kubeconfig()), "default")
        query = {"resourceVersion": version, "allowWatchBookmarks": "true"}
        with watching(server, path_of("default"), **query) as events:
            event = next(events)
    assert (event["type"], event["object"]["kind"]) == ("BOOKMARK", "ConfigMap")
