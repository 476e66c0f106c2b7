"""What a rollout knows of a cluster: listed once, then kept by what has changed; also on a real
server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import yaml
from lightkube import Client, KubeConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from edgectl.api import ProviderError, Record, UnreachableError
from edgectl_gke_edge._sdk import kinds
from edgectl_gke_edge._sdk.kube import Asked, Kube
from edgectl_gke_edge._sdk.mirror import Mirror
from edgectl_gke_edge.emulator.kube.server import KubeServer

LABELS = {"mine": "yes"}


class Kept(Record, frozen=True):
    name: str
    data: str


def read(document: dict[str, Any]) -> Kept:
    return Kept(document["metadata"]["name"], (document.get("data") or {}).get("is", ""))


def config_map(name: str, namespace: str, value: str = "", **labels: str) -> ConfigMap:
    metadata = ObjectMeta(name=name, namespace=namespace, labels=labels or LABELS)
    return ConfigMap(metadata=metadata, data={"is": value})


@pytest.fixture
def kube_for() -> Iterator[Callable[[Any], Kube]]:
    """Open a server as a rollout does."""
    opened: list[Kube] = []

    def make(server: Any) -> Kube:
        config = KubeConfig.from_dict(yaml.safe_load(server.kubeconfig())).get()
        assert config is not None
        opened.append(Kube(server.name, config))
        return opened[-1]

    yield make
    for kube in opened:
        kube.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note whether each request was a list or a watch."""
    found: list[str] = []
    send = httpx2.HTTPTransport.handle_request

    def noting(transport: httpx2.HTTPTransport, request: httpx2.Request) -> httpx2.Response:
        found.append("watch" if request.url.params.get("watch") else "list")
        return send(transport, request)

    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", noting)
    return found


def mirror_of(kube: Kube, namespace: str) -> Mirror[Kept]:
    return Mirror(kube, Asked("list", kinds.ConfigMap, namespace, LABELS), read)


def told(mirror: Mirror[Kept]) -> dict[str, str]:
    return {kept.name: kept.data for kept in mirror.look()}


def test_later_looks_ask_only_for_what_has_changed(
    server: Any, client: Client, namespace: str, kube_for: Callable[[Any], Kube], asked: list[str]
) -> None:
    for name in ("changes", "goes", "leaves", "stays"):
        client.create(config_map(name, namespace, "old"))
    client.create(config_map("other", namespace, "old", mine="no"))
    mirror = mirror_of(kube_for(server), namespace)
    assert told(mirror) == dict.fromkeys(("changes", "goes", "leaves", "stays"), "old")
    client.patch(ConfigMap, "changes", {"data": {"is": "new"}}, namespace=namespace)
    client.patch(ConfigMap, "leaves", {"metadata": {"labels": {"mine": "no"}}}, namespace=namespace)
    client.patch(ConfigMap, "other", {"metadata": {"labels": LABELS}}, namespace=namespace)
    client.delete(ConfigMap, "goes", namespace=namespace)
    client.create(config_map("comes", namespace, "new"))
    asked.clear()
    expected = {"changes": "new", "comes": "new", "other": "old", "stays": "old"}
    assert told(mirror) == expected
    assert told(mirror) == expected
    assert asked == ["watch", "watch"]


def test_nothing_at_all_can_be_kept_too(
    server: Any, client: Client, namespace: str, kube_for: Callable[[Any], Kube]
) -> None:
    mirror = mirror_of(kube_for(server), namespace)
    assert told(mirror) == {}
    client.create(config_map("first", namespace, "new"))
    assert told(mirror) == {"first": "new"}


def test_a_look_ends_however_much_goes_on(
    server: Any, client: Client, namespace: str, kube_for: Callable[[Any], Kube]
) -> None:
    client.create(config_map("busy", namespace, "0"))
    mirror = mirror_of(kube_for(server), namespace)
    told(mirror)
    over = threading.Event()
    wrote = [0]

    def keep_writing() -> None:
        while not over.is_set():
            wrote[0] += 1
            change = {"data": {"is": str(wrote[0])}}
            client.patch(ConfigMap, "busy", change, namespace=namespace)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        assert int(told(mirror)["busy"]) <= wrote[0]
    finally:
        over.set()
        writer.join()
    assert told(mirror) == {"busy": str(wrote[0])}


def test_a_cluster_that_refuses_is_not_taken_for_an_empty_one(
    server: Any, client: Client, namespace: str, kube_for: Callable[[Any], Kube]
) -> None:
    client.create(config_map("there", namespace, "old"))
    mirror = mirror_of(kube_for(server), namespace)
    told(mirror)
    mirror._version = "not a number"
    with pytest.raises(ProviderError, match="not a number"):
        mirror.look()


def test_a_cluster_that_does_not_begin_to_answer_is_not_taken_for_a_quiet_one(
    server: Any,
    client: Client,
    namespace: str,
    kube_for: Callable[[Any], Kube],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.create(config_map("there", namespace, "old"))
    mirror = mirror_of(kube_for(server), namespace)
    told(mirror)

    def silent(transport: httpx2.HTTPTransport, request: httpx2.Request) -> httpx2.Response:
        del transport
        raise httpx2.ReadTimeout("the read operation timed out", request=request)

    with monkeypatch.context() as patch:
        patch.setattr(httpx2.HTTPTransport, "handle_request", silent)
        with pytest.raises(UnreachableError):
            mirror.look()
    assert told(mirror) == {"there": "old"}


# Only ours can be made to forget.


def test_what_was_forgotten_is_listed_anew(
    own: KubeServer,
    own_client: Client,
    own_namespace: str,
    kube_for: Callable[[Any], Kube],
    asked: list[str],
) -> None:
    own_client.create(config_map("goes", own_namespace, "old"))
    mirror = mirror_of(kube_for(own), own_namespace)
    assert told(mirror) == {"goes": "old"}
    own_client.delete(ConfigMap, "goes", namespace=own_namespace)
    own_client.create(config_map("comes", own_namespace, "new"))
    own.forget_events()
    asked.clear()
    assert told(mirror) == {"comes": "new"}
    assert asked == ["watch", "list"]
    assert told(mirror) == {"comes": "new"}
    assert asked == ["watch", "list", "watch"]


def test_what_was_just_written_is_seen_at_once_and_older_news_change_nothing(
    server: Any, client: Client, namespace: str, kube_for: Callable[[Any], Kube]
) -> None:
    client.create(config_map("one", namespace, "first"))
    mirror = mirror_of(kube_for(server), namespace)
    told(mirror)
    client.patch(ConfigMap, "one", {"data": {"is": "second"}}, namespace=namespace)
    written = client.patch(ConfigMap, "one", {"data": {"is": "third"}}, namespace=namespace)
    mirror.note(written.to_dict())
    assert mirror._kept["one"].value.data == "third"
    seen = [kept.data for kept in following(mirror)]
    assert seen == ["third", "third"]
    client.patch(ConfigMap, "one", {"data": {"is": "fourth"}}, namespace=namespace)
    assert told(mirror) == {"one": "fourth"}
    mirror.note(written.to_dict())  # by a thread that is late
    assert told(mirror) == {"one": "fourth"}


def following(mirror: Mirror[Kept]) -> Iterator[Kept]:
    """Yield what is kept of the object after each change that the server tells of."""
    for change in mirror._kube.changes(mirror._asked, mirror._version):
        mirror._take(change)
        yield mirror._kept["one"].value


def test_who_comes_or_goes_by_what_was_written_is_seen_at_once(
    server: Any, client: Client, namespace: str, kube_for: Callable[[Any], Kube], asked: list[str]
) -> None:
    client.create(config_map("goes", namespace, "old"))
    client.create(config_map("comes", namespace, "old", mine="no"))
    mirror = mirror_of(kube_for(server), namespace)
    told(mirror)
    for name, mine in (("goes", "no"), ("comes", "yes")):
        change = {"metadata": {"labels": {"mine": mine}}}
        written = client.patch(ConfigMap, name, change, namespace=namespace)
        mirror.note(written.to_dict())
    asked.clear()
    assert told(mirror) == {"comes": "old"}
    assert asked == ["list"]
