"""The registry itself: what each route does. Its storage and rules stand behind it.

Source: OCI distribution-spec 1.1, "Endpoints".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from edgectl.emulation.registry.access import Access
from edgectl.emulation.registry.answers import Answer, Asked, Content
from edgectl.emulation.registry.errors import RefusedError
from edgectl.emulation.registry.grammar import (
    Route,
    check_digest,
    check_name,
    check_tag,
    is_digest,
    parse_range,
    parse_route,
)
from edgectl.emulation.registry.manifests import MAX_MANIFEST_BYTES, OCI_INDEX, read_manifest
from edgectl.emulation.registry.storage import Storage
from edgectl.emulation.registry.uploads import Uploads

Body = Callable[[], Iterable[bytes]]
TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
_JSON = "application/json"


class Routes:
    """Answers requests below ``/v2/``.

    Args:
        storage: What it keeps.
        access: Who may do what.
        page_size: How many tags or repositories go on a page at most.
        referrers_api: False for a registry of before 1.1, which lists no referrers.
        delete: Whether content can be deleted.
    """

    def __init__(
        self,
        storage: Storage,
        access: Access,
        *,
        page_size: int = 1000,
        referrers_api: bool = True,
        delete: bool = True,
    ) -> None:
        self._storage = storage
        self._access = access
        self._uploads = Uploads(storage.incoming)
        self._page_size = page_size
        self._referrers_api = referrers_api
        self._delete = delete

    def answer(self, asked: Asked, body: Body) -> Answer:
        """Answer a request.

        Raises:
            RefusedError: It is not fulfilled.
        """
        route = parse_route(asked.path.removeprefix("/v2/"))
        self._authorize(asked, route)
        if route.kind == "base":
            return Answer(200, {"Content-Type": _JSON}, b"{}")
        if asked.method == "DELETE" and route.kind != "upload" and not self._delete:
            raise RefusedError("UNSUPPORTED", "the operation is unsupported")
        handler: Callable[[Asked, Route, Body], Answer] | None = getattr(
            self, f"_{asked.method.lower()}_{route.kind}", None
        )
        if handler is None:
            raise RefusedError("UNSUPPORTED", f"{asked.method} is not supported here")
        return handler(asked, route, body)

    def _authorize(self, asked: Asked, route: Route) -> None:
        needs: dict[str, frozenset[str]] = {}
        if route.repository:
            action = _ACTIONS.get(asked.method, "push")
            if route.kind == "upload":
                action = "push"
            needs[route.repository] = frozenset({"pull", "push"} if action == "push" else {action})
        source = asked.query.get("from", "")
        if route.kind == "upload" and asked.query.get("mount") and source:
            needs[check_name(source)] = needs.get(source, frozenset()) | {"pull"}
        authorization = asked.headers.get("authorization", "")
        self._access.check(authorization, needs, asked.url + TOKEN_PATH)

    def _get_catalog(self, asked: Asked, _route: Route, _body: Body) -> Answer:
        return self._page(asked, "/v2/_catalog", self._storage.names(), "repositories", {})

    def _get_tags(self, asked: Asked, route: Route, _body: Body) -> Answer:
        tags = self._storage.tags(route.repository)
        path = f"/v2/{route.repository}/tags/list"
        return self._page(asked, path, tags, "tags", {"name": route.repository})

    def _page(
        self, asked: Asked, path: str, names: list[str], key: str, document: dict[str, Any]
    ) -> Answer:
        wanted = asked.query.get("n", str(self._page_size))
        if not wanted.isdecimal():
            raise RefusedError("PAGINATION_NUMBER_INVALID", f"'{wanted}' is no number of results")
        count = min(int(wanted), self._page_size)
        last = asked.query.get("last", "")
        rest = [name for name in names if name > last]
        headers = {"Content-Type": _JSON}
        if 0 < count < len(rest):
            place = f"{path}?last={quote(rest[count - 1], safe='')}&n={count}"
            headers["Link"] = f'<{place}>; rel="next"'
        return Answer(200, headers, json.dumps({**document, key: rest[:count]}).encode())

    def _get_blob(self, asked: Asked, route: Route, _body: Body) -> Answer:
        digest = check_digest(route.name)
        file = self._storage.blob(route.repository, digest)
        size = file.stat().st_size
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
            "ETag": f'"{digest}"',
        }
        part = parse_range(asked.headers.get("range", ""), size) if asked.method == "GET" else None
        if part is None:
            return Answer(200, headers, Content(file, 0, size))
        headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{size}"
        return Answer(206, headers, Content(file, *part))

    _head_blob = _get_blob

    def _delete_blob(self, _asked: Asked, route: Route, _body: Body) -> Answer:
        self._storage.delete_blob(route.repository, check_digest(route.name))
        return Answer(202)

    def _get_manifest(self, asked: Asked, route: Route, _body: Body) -> Answer:
        digest = self._digest(route)
        data, kind = self._storage.manifest(route.repository, digest)
        if not _accepts(asked.headers.get("accept", ""), kind):
            said = f"manifest found, but the Accept header does not support '{kind}'"
            raise RefusedError("MANIFEST_UNKNOWN", said)
        headers = {"Content-Type": kind, "Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        return Answer(200, headers, data)

    _head_manifest = _get_manifest

    def _put_manifest(self, asked: Asked, route: Route, body: Body) -> Answer:
        data = _small(body())
        facts = read_manifest(data, asked.headers.get("content-type", ""))
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        tag = "" if is_digest(route.name) else check_tag(route.name)
        if not tag and check_digest(route.name) != digest:
            raise RefusedError("DIGEST_INVALID", f"the manifest's digest is {digest}")
        self._storage.put_manifest(route.repository, data, facts, tag)
        headers = {
            "Location": f"/v2/{route.repository}/manifests/{digest}",
            "Docker-Content-Digest": digest,
        }
        if facts.subject and self._referrers_api:
            headers["OCI-Subject"] = facts.subject
        return Answer(201, headers)

    def _delete_manifest(self, _asked: Asked, route: Route, _body: Body) -> Answer:
        if is_digest(route.name):
            self._storage.delete_manifest(route.repository, check_digest(route.name))
        else:
            self._storage.delete_tag(route.repository, check_tag(route.name))
        return Answer(202)

    def _get_referrers(self, asked: Asked, route: Route, _body: Body) -> Answer:
        if not self._referrers_api:
            return Answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        wanted = asked.query.get("artifactType", "")
        entries = [
            entry
            for digest in self._storage.referrers(route.repository, check_digest(route.name))
            if (entry := self._referrer(route.repository, digest))["artifactType"] == wanted
            or not wanted
        ]
        headers = {"Content-Type": OCI_INDEX}
        if wanted:
            headers["OCI-Filters-Applied"] = "artifactType"
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return Answer(200, headers, json.dumps(document).encode())

    def _referrer(self, repository: str, digest: str) -> dict[str, Any]:
        data, kind = self._storage.manifest(repository, digest)
        facts = read_manifest(data, kind)
        entry: dict[str, Any] = {"mediaType": kind, "digest": digest, "size": len(data)}
        entry["artifactType"] = facts.artifact_type
        return {**entry, "annotations": facts.annotations} if facts.annotations else entry

    def _post_upload(self, asked: Asked, route: Route, body: Body) -> Answer:
        if route.name:
            raise RefusedError("UNSUPPORTED", "POST is not supported here")
        mounted = asked.query.get("mount", "")
        source = asked.query.get("from", "")
        if mounted and source:
            digest = check_digest(mounted)
            if self._storage.mount(route.repository, digest, check_name(source)):
                return self._stored(route.repository, digest)
        session = self._uploads.begin(route.repository)
        if "digest" in asked.query:
            return self._put_upload(asked, route._replace(name=session), body)
        return self._session(route.repository, session, 202, 0)

    def _patch_upload(self, asked: Asked, route: Route, body: Body) -> Answer:
        size = self._uploads.append(
            route.repository, route.name, asked.headers.get("content-range", ""), body()
        )
        return self._session(route.repository, route.name, 202, size)

    def _put_upload(self, asked: Asked, route: Route, body: Body) -> Answer:
        digest = check_digest(asked.query.get("digest", ""))
        content_range = asked.headers.get("content-range", "")
        self._uploads.append(route.repository, route.name, content_range, body())
        content = self._uploads.finish(route.repository, route.name)
        self._storage.adopt(route.repository, content, digest)
        return self._stored(route.repository, digest)

    def _get_upload(self, _asked: Asked, route: Route, _body: Body) -> Answer:
        size = self._uploads.size(route.repository, route.name)
        return self._session(route.repository, route.name, 204, size)

    def _delete_upload(self, _asked: Asked, route: Route, _body: Body) -> Answer:
        self._uploads.finish(route.repository, route.name).unlink(missing_ok=True)
        return Answer(204)

    def _digest(self, route: Route) -> str:
        if is_digest(route.name):
            return check_digest(route.name)
        return self._storage.resolve(route.repository, check_tag(route.name))

    def _stored(self, repository: str, digest: str) -> Answer:
        place = f"/v2/{repository}/blobs/{digest}"
        return Answer(201, {"Location": place, "Docker-Content-Digest": digest})

    def _session(self, repository: str, session: str, status: int, size: int) -> Answer:
        headers = {
            "Location": f"/v2/{repository}/blobs/uploads/{session}?_state=1",
            "Range": f"0-{max(size - 1, 0)}",
            "Docker-Upload-UUID": session,
        }
        return Answer(status, headers)


def _accepts(accept: str, kind: str) -> bool:
    wanted = {one.partition(";")[0].strip() for one in accept.split(",")}
    return not accept or bool({"*/*", "application/*", kind} & wanted)


def _small(parts: Iterable[bytes]) -> bytes:
    data = b"".join(parts)
    if len(data) > MAX_MANIFEST_BYTES:
        said = f"a manifest may have {MAX_MANIFEST_BYTES} bytes"
        raise RefusedError("MANIFEST_INVALID", said, status=413)
    return data
