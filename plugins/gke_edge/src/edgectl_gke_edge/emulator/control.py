"""``/_edgectl/…``: what tests and users steer the emulator with. Not part of any real service.

| route | body | what happens |
|---|---|---|
| ``POST clusters/NAME/cut``, ``…/mend`` | | operators do not reach the cluster, or do again |
| ``POST nodes/CLUSTER/NODE/silence``, ``…/wake`` | | the node tells its API server nothing |
| ``POST pulls`` | ``{cluster, node, word}`` | images with that word cannot be pulled there |
| ``DELETE pulls`` | | they can |
| ``POST denials`` | ``{cluster, verb, resource}`` | nobody may do that, whatever roles say |
| ``DELETE denials`` | | roles decide |
| ``POST quotas`` | ``{cluster, namespace, hard}`` | the namespace has that ResourceQuota |
| ``DELETE quotas`` | | no cluster has a quota of ours |
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
import msgspec
from msgspec.structs import replace

from edgectl.api import Record
from edgectl.emulation import WebServer
from edgectl_gke_edge.emulator.fleet import Fleet, Site

PREFIX = "/_edgectl/"
QUOTA = "edgectl-emulator-quota"


class NoPull(Record, frozen=True, kw_only=True):
    """Images that cannot be pulled; ``*`` is every node."""

    cluster: str
    word: str
    node: str = "*"


class Denial(Record, frozen=True, kw_only=True):
    """What nobody may do; ``*`` stands for any verb or resource."""

    cluster: str
    verb: str
    resource: str


class Quota(Record, frozen=True, kw_only=True):
    """What a namespace may have at most, for example ``{pods: "0"}``; it has to be there."""

    cluster: str
    namespace: str
    hard: dict[str, str]


class Control:
    """The routes, on a port of their own.

    Args:
        fleet: What is steered.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._lock = threading.Lock()
        self._server = WebServer(self._answer)
        self._fixed: dict[tuple[str, str], Callable[[bytes], object]] = {
            ("POST", "pulls"): self._no_pull,
            ("DELETE", "pulls"): self._all_pulls,
            ("POST", "denials"): self._deny,
            ("DELETE", "denials"): self._allow,
            ("POST", "quotas"): self._limit,
            ("DELETE", "quotas"): self._unlimit,
        }

    def start(self) -> str:
        """Serve; return the address of the routes."""
        self._server.start()
        return f"{self._server.url}{PREFIX.rstrip('/')}"

    def stop(self) -> None:
        """End."""
        self._server.stop()

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = str(environ["PATH_INFO"]).removeprefix(PREFIX).split("/")
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size) if size else b"{}"
        try:
            with self._lock:
                result = self._route(str(environ["REQUEST_METHOD"]), path)(body)
        except KeyError as exc:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [f"there is no {exc}".encode()]
        except (msgspec.ValidationError, msgspec.DecodeError) as exc:
            start("400 Bad Request", [("Content-Type", "text/plain")])
            return [str(exc).encode()]
        start("200 OK", [("Content-Type", "application/json")])
        return [msgspec.json.encode(result)]

    def _route(self, method: str, path: list[str]) -> Callable[[bytes], object]:
        match method, path:
            case "POST", ["clusters", name, "cut" | "mend" as verb]:
                return lambda _: self._cut(name, cut=verb == "cut")
            case "POST", ["nodes", cluster, node, "silence" | "wake" as verb]:
                site = self._fleet.sites[cluster]
                return lambda _: self._silence(site, node, silent=verb == "silence")
            case _, [name] if (fixed := self._fixed.get((method, name))) is not None:
                return fixed
        raise KeyError(f"route {method} {'/'.join(path)}")

    def _cut(self, name: str, *, cut: bool) -> object:
        if cut:
            self._fleet.cut(name)
        else:
            self._fleet.mend(name)
        return {"cluster": name, "cut": cut}

    def _silence(self, site: Site, node: str, *, silent: bool) -> object:
        if node not in site.wanted.nodes:
            raise KeyError(f"node {node}")
        others = tuple(one for one in site.orders.silent if one != node)
        site.order(replace(site.orders, silent=(*others, node) if silent else others))
        return {"silent": site.orders.silent}

    def _no_pull(self, body: bytes) -> object:
        wanted = msgspec.json.decode(body, type=NoPull)
        site = self._fleet.sites[wanted.cluster]
        words = (*site.orders.no_pulls.get(wanted.node, ()), wanted.word)
        site.order(replace(site.orders, no_pulls={**site.orders.no_pulls, wanted.node: words}))
        return site.orders.no_pulls

    def _all_pulls(self, _body: bytes) -> object:
        for site in self._fleet.sites.values():
            site.order(replace(site.orders, no_pulls={}))
        return {}

    def _deny(self, body: bytes) -> object:
        wanted = msgspec.json.decode(body, type=Denial)
        self._fleet.sites[wanted.cluster].server.deny(wanted.verb, wanted.resource)
        return {"verb": wanted.verb, "resource": wanted.resource}

    def _allow(self, _body: bytes) -> object:
        for site in self._fleet.sites.values():
            site.server.allow_again()
        return {}

    def _limit(self, body: bytes) -> object:
        wanted = msgspec.json.decode(body, type=Quota)
        site = self._fleet.sites[wanted.cluster]
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": QUOTA, "labels": {QUOTA: "yes"}},
            "spec": {"hard": wanted.hard},
        }
        path = f"/api/v1/namespaces/{wanted.namespace}/resourcequotas"
        with _client(site) as client:
            answer = client.post(path, json=quota)
        if answer.is_error:
            raise KeyError(f"quota in '{wanted.namespace}': {answer.text}")
        return {"hard": wanted.hard}

    def _unlimit(self, _body: bytes) -> object:
        for site in self._fleet.sites.values():
            with _client(site) as client:
                listed = client.get("/api/v1/resourcequotas", params={"labelSelector": QUOTA})
                for item in listed.json().get("items") or ():
                    meta = item["metadata"]
                    place = f"/api/v1/namespaces/{meta['namespace']}/resourcequotas"
                    client.delete(f"{place}/{meta['name']}")
        return {}


def _client(site: Site) -> httpx.Client:
    """Return a client with an administrator's rights, past the gate."""
    return httpx.Client(
        base_url=site.server.url,
        headers={"Authorization": f"Bearer {site.server.token}"},
        verify=ssl.create_default_context(cadata=site.server.ca),
        trust_env=False,
    )
