"""What hangs below objects: log, proxy, eviction, binding, scale, token, finalize; and reviews."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgectl_gke_edge.emulator.kube import eviction, patches
from edgectl_gke_edge.emulator.kube.access import Access, Attributes
from edgectl_gke_edge.emulator.kube.decoding import parse
from edgectl_gke_edge.emulator.kube.errors import (
    Json,
    StatusError,
    bad_request,
    conflict,
    no_such_path,
)
from edgectl_gke_edge.emulator.kube.kubelets import Kubelets
from edgectl_gke_edge.emulator.kube.lifecycle import DeleteOptions
from edgectl_gke_edge.emulator.kube.registry import Registry
from edgectl_gke_edge.emulator.kube.requests import Call, Target, User
from edgectl_gke_edge.emulator.kube.strategy import now

_TOKEN_S = 3600


class Subresources:
    """Answers requests below an object."""

    def __init__(self, registry: Registry, access: Access, kubelets: Kubelets) -> None:
        self._registry = registry
        self._access = access
        self._kubelets = kubelets

    async def answer(self, target: Target, call: Call, request: Request) -> Response:
        """Answer a request to a subresource but ``status``.

        Raises:
            StatusError: 404 for one that the kind does not have, and what each refuses.
        """
        place = (target.kind.plural, target.subresource, target.verb)
        if target.subresource == "proxy" and target.kind.plural in {"pods", "nodes"}:
            return await self._kubelets.proxy(target, request)
        if place == ("pods", "log", "get"):
            return await self._kubelets.log(self._registry.get(target), request.query_params)
        if target.subresource == "scale" and "scale" in target.kind.subresources:
            return await self._scale(target, call, request)
        body = await request.body()
        value = parse(body, request.headers.get("content-type", ""))[0] if body else {}
        code, answer = self._small(place, target, call, value if isinstance(value, dict) else {})
        return JSONResponse(answer, code)

    def _small(
        self, place: tuple[str, str, str], target: Target, call: Call, value: Json
    ) -> tuple[int, Json]:
        """Answer what needs nothing but the body; return the HTTP status and the answer."""
        if place == ("pods", "eviction", "create"):
            return 201, self._evict(target, call, value)
        if place == ("pods", "binding", "create"):
            return 201, self._bind(target, call, value)
        if place == ("serviceaccounts", "token", "create"):
            return 201, self._token(target, value)
        if place == ("namespaces", "finalize", "update"):
            return 200, self._registry.get(target)
        raise no_such_path()

    def _evict(self, target: Target, call: Call, value: Json) -> Json:
        stated = value.get("deleteOptions") or {}
        dry_run = call.dry_run or bool(stated.get("dryRun"))
        call.dry_run = dry_run
        pod = self._registry.get(target)
        eviction.allow(self._registry.store, pod, dry_run=dry_run)
        if not dry_run:
            self._mark_evicted(target)
        one = Target(target.kind, "delete", target.namespace, target.name)
        options = DeleteOptions.read(stated, {})
        self._registry.lifecycle.delete(one, call, options, self._registry.get(one))
        return _success(201)

    def _mark_evicted(self, target: Target) -> None:
        """Tell in the pod's conditions why it ends."""
        pod = self._registry.get(target)
        if pod["metadata"].get("deletionTimestamp"):
            return
        told = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastTransitionTime": now(),
        }
        status = pod.get("status", {})
        kept = [c for c in status.get("conditions", []) if c.get("type") != told["type"]]
        status = {**status, "conditions": [*kept, told]}
        self._registry.store.put(target.kind, {**pod, "status": status})

    def _bind(self, target: Target, call: Call, value: Json) -> Json:
        pod = self._registry.get(target)
        node = (value.get("target") or {}).get("name", "")
        if not node:
            raise bad_request("Binding is invalid: target.name: Required value")
        if pod["spec"].get("nodeName"):
            why = f"pod {target.name} is already assigned to node {pod['spec']['nodeName']!r}"
            raise conflict(target.place, why)
        if not call.dry_run:
            status = dict(pod.get("status", {}))
            kept = [c for c in status.get("conditions", []) if c.get("type") != "PodScheduled"]
            scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}
            status["conditions"] = [*kept, scheduled]
            spec = {**pod["spec"], "nodeName": node}
            self._registry.store.put(target.kind, {**pod, "spec": spec, "status": status})
        return _success(201)

    def _token(self, target: Target, value: Json) -> Json:
        account = self._registry.get(target)
        namespace, name = target.namespace, account["metadata"]["name"]
        spec = value.get("spec") or {}
        seconds = int(spec.get("expirationSeconds", _TOKEN_S))
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        token = self._access.add_token(f"system:serviceaccount:{namespace}:{name}", groups)
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"audiences": [], **spec, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": ends.strftime("%Y-%m-%dT%H:%M:%SZ")},
        }

    async def _scale(self, target: Target, call: Call, request: Request) -> Response:
        live = self._registry.get(target)
        scale = scale_of(live)
        if target.verb == "get":
            return JSONResponse(scale)
        body, content_type = await request.body(), request.headers.get("content-type", "")
        wanted = _wanted_scale(scale, body, content_type, target.verb)
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            raise bad_request("Scale.spec.replicas must be greater than or equal to 0")
        changed = {**live, "spec": {**live["spec"], "replicas": replicas}}
        version = (wanted.get("metadata") or {}).get("resourceVersion", "")
        metadata = {**live["metadata"]}
        metadata["resourceVersion"] = version or metadata["resourceVersion"]
        body = json.dumps({**changed, "metadata": metadata}).encode()
        return JSONResponse(scale_of(self._registry.update(target, call, body, "application/json")))

    # Reviews

    def review(self, target: Target, call: Call, body: bytes) -> Json:
        """Answer an access review.

        Raises:
            StatusError: 400.
        """
        value = parse(body, "application/json")[0]
        if not isinstance(value, dict):
            raise bad_request("a review is an object")
        answer = {"apiVersion": target.kind.api_version, "kind": target.kind.kind, "metadata": {}}
        spec = value.get("spec") or {}
        if target.kind.kind == "SelfSubjectRulesReview":
            rules = self._access.rules(call.user, spec.get("namespace", ""))
            known = {"resourceRules": list(rules), "nonResourceRules": [], "incomplete": False}
            return {**answer, "spec": {}, "status": known}
        user = call.user
        if target.kind.kind == "SubjectAccessReview":
            user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
        return {**answer, "spec": spec, "status": self._reviewed(user, spec)}

    def _reviewed(self, user: User, spec: Json) -> Json:
        asked = spec.get("resourceAttributes")
        if not asked:
            return {"allowed": bool(spec.get("nonResourceAttributes"))}
        resource = asked.get("resource", "")
        if asked.get("subresource"):
            resource += "/" + asked["subresource"]
        wanted = Attributes(
            verb=asked.get("verb", ""),
            group=asked.get("group", ""),
            resource=resource,
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
        )
        return {"allowed": self._access.allows(user, wanted)}


def scale_of(obj: Json) -> Json:
    """Return an object's ``Scale``."""
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {name: obj["metadata"][name] for name in names if name in obj["metadata"]}
    selector = obj["spec"].get("selector", {}).get("matchLabels", {})
    status: Json = {"replicas": obj.get("status", {}).get("replicas", 0)}
    status["selector"] = ",".join(f"{k}={v}" for k, v in sorted(selector.items()))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": status,
    }


def _wanted_scale(scale: Json, body: bytes, content_type: str, verb: str) -> Json:
    value: Any = parse(body, content_type)[0]
    if not isinstance(value, dict | list):
        raise bad_request("a scale is an object")
    if verb == "update":
        return value if isinstance(value, dict) else {}
    if content_type.startswith(patches.JSON_PATCH):
        return patches.json_patch(scale, value)
    merged = patches.merge_patch(scale, value)
    return merged if isinstance(merged, dict) else {}


def _success(code: int) -> Json:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**status, "code": code}


__all__ = ["StatusError", "Subresources", "scale_of"]
