"""Calls to a Kubernetes API server: plain documents in, plain documents out, errors of one kind.

httpx and dictionaries rather than a typed client: controllers copy objects that they do not
understand in full, and must not lose a field that a client's model lacks.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec

Obj = dict[str, Any]

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
WATCH_S = 240
_LIMIT = 500

_GROUPS = {
    "pods": "api/v1",
    "nodes": "api/v1",
    "namespaces": "api/v1",
    "services": "api/v1",
    "configmaps": "api/v1",
    "secrets": "api/v1",
    "serviceaccounts": "api/v1",
    "events": "api/v1",
    "daemonsets": "apis/apps/v1",
    "deployments": "apis/apps/v1",
    "replicasets": "apis/apps/v1",
    "controllerrevisions": "apis/apps/v1",
    "jobs": "apis/batch/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "endpointslices": "apis/discovery.k8s.io/v1",
    "poddisruptionbudgets": "apis/policy/v1",
    "resourcequotas": "api/v1",
    "networkpolicies": "apis/networking.k8s.io/v1",
    "priorityclasses": "apis/scheduling.k8s.io/v1",
}
CLUSTER_WIDE = frozenset({"nodes", "namespaces", "priorityclasses"})


class ApiError(Exception):
    """The API server refused, or could not be reached (``code`` 0).

    Attributes:
        code: The HTTP status.
        reason: The Status object's reason, for example ``Conflict``.
    """

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{reason or code}: {message}")
        self.code = code
        self.reason = reason


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach an API server.

    Attributes:
        server: Its address, for example ``https://127.0.0.1:6443``.
        token: A bearer token, or "".
        ca_file: Path of its certificate's authority, or "" for the system's.
        certificate: Path of a client certificate with ``key``, or "".
    """

    server: str
    token: str = ""
    ca_file: str = ""
    certificate: str = ""
    key: str = ""


def path_of(kind: str, namespace: str = "", name: str = "", sub: str = "") -> str:
    """Return the path of a collection, an object or its subresource; ``kind`` is the plural."""
    parts = [_GROUPS[kind]]
    if namespace and kind not in CLUSTER_WIDE:
        parts += ["namespaces", namespace]
    parts.append(kind)
    parts += [part for part in (name, sub) if part]
    return "/" + "/".join(parts)


class Api:
    """A client of one API server.

    Args:
        access: How to reach it.
        agent: Who calls, for its audit log and field managers.
    """

    def __init__(self, access: Access, agent: str) -> None:
        headers = {"User-Agent": agent}
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        context = ssl.create_default_context(cafile=access.ca_file or None)
        if access.certificate:
            context.load_cert_chain(access.certificate, access.key)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        self._manager = agent
        self._client = httpx.AsyncClient(
            base_url=access.server,
            headers=headers,
            verify=context,
            timeout=httpx.Timeout(30.0),
            limits=limits,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, str | int] | None = None,
        content_type: str = "application/json",
    ) -> Obj:
        """Make one call and return the document of its answer.

        Raises:
            ApiError: It was refused, or there was no answer.
        """
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if content is None else {"Content-Type": content_type}
        try:
            response = await self._client.request(
                method, path, params=params, content=content, headers=headers
            )
        except (httpx.HTTPError, OSError) as exc:
            raise ApiError(0, "Unreachable", f"{method} {path}: {type(exc).__name__}") from exc
        if response.is_error:
            raise _refusal(response.status_code, response.content, f"{method} {path}")
        return _document(response.content)

    async def get(self, kind: str, namespace: str, name: str) -> Obj:
        """Return an object; raises ``ApiError``, with code 404 if there is none."""
        return await self.call("GET", path_of(kind, namespace, name))

    async def create(
        self, kind: str, namespace: str, body: Obj, sub: str = "", of: str = ""
    ) -> Obj:
        """Create an object, or POST to the subresource ``sub`` of ``of``; raises ``ApiError``."""
        path = path_of(kind, namespace, of, sub)
        return await self.call("POST", path, body, params={"fieldManager": self._manager})

    async def replace(self, kind: str, obj: Obj, sub: str = "") -> Obj:
        """Replace an object or its subresource; raises ``ApiError``."""
        meta = obj["metadata"]
        path = path_of(kind, meta.get("namespace", ""), meta["name"], sub)
        return await self.call("PUT", path, obj, params={"fieldManager": self._manager})

    async def patch(self, kind: str, namespace: str, name: str, body: Obj, sub: str = "") -> Obj:
        """Apply a merge patch to an object or its subresource; raises ``ApiError``."""
        path = path_of(kind, namespace, name, sub)
        params = {"fieldManager": self._manager}
        return await self.call("PATCH", path, body, params=params, content_type=MERGE)

    async def delete(
        self, kind: str, obj: Obj, *, grace_s: int | None = None, policy: str = "Background"
    ) -> None:
        """Delete just this object, not another one of its name; one that is gone is no error.

        Raises:
            ApiError: It was refused.
        """
        meta = obj["metadata"]
        body: Obj = {"propagationPolicy": policy, "preconditions": {"uid": meta["uid"]}}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        try:
            await self.call("DELETE", path_of(kind, meta.get("namespace", ""), meta["name"]), body)
        except ApiError as exc:
            if exc.code not in (404, 409):
                raise

    async def list(self, kind: str, params: Mapping[str, str | int]) -> tuple[list[Obj], str]:
        """Return every object of a kind and the resourceVersion to watch from.

        Raises:
            ApiError: It was refused.
        """
        items: list[Obj] = []
        proceed, version = "", ""
        while True:
            asked = {**params, "limit": _LIMIT} | ({"continue": proceed} if proceed else {})
            page = await self.call("GET", path_of(kind), params=asked)
            items += page.get("items") or []
            version = page["metadata"]["resourceVersion"]
            proceed = page["metadata"].get("continue", "")
            if not proceed:
                return items, version

    async def watch(
        self, kind: str, version: str, params: Mapping[str, str | int]
    ) -> AsyncIterator[tuple[str, Obj]]:
        """Yield what happens after ``version``: the event's type and the object.

        Raises:
            ApiError: The watch was refused, or ended with an error, or broke off.
        """
        asked = {
            **params,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_S,
        }
        timeout = httpx.Timeout(30.0, read=WATCH_S + 30.0)
        path = path_of(kind)
        try:
            async with self._client.stream("GET", path, params=asked, timeout=timeout) as stream:
                if stream.is_error:
                    raise _refusal(stream.status_code, await stream.aread(), f"watch of {kind}")
                async for line in stream.aiter_lines():
                    if not line:
                        continue
                    event = _document(line.encode())
                    if event["type"] == "ERROR":
                        raise _status_error(event["object"], f"watch of {kind}")
                    yield event["type"], event["object"]
        except (httpx.HTTPError, OSError) as exc:
            raise ApiError(0, "Unreachable", f"watch of {kind}: {type(exc).__name__}") from exc


def _document(content: bytes) -> Obj:
    if not content:
        return {}
    try:
        found: Obj = json.loads(content)
    except ValueError as exc:
        raise ApiError(0, "BadAnswer", f"the answer is no JSON: {exc}") from exc
    return found


def _refusal(code: int, content: bytes, what: str) -> ApiError:
    try:
        status = json.loads(content)
    except ValueError:
        return ApiError(code, "", f"{what}: {content[:200]!r}")
    if not isinstance(status, dict):
        return ApiError(code, "", f"{what}: {content[:200]!r}")
    return _status_error({"code": code, **status}, what)


def _status_error(status: Obj, what: str) -> ApiError:
    code = status.get("code") or 0
    return ApiError(int(code), status.get("reason") or "", f"{what}: {status.get('message', '')}")
