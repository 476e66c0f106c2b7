"""The metadata resource, the same below targets, modules and distribution sets."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.http import answer, body, done, hub_of, listing, query
from edgectl_selfhosted.hub.mgmt import bodies, documents
from edgectl_selfhosted.hub.store import metadata

OwnerId = Callable[[sqlite3.Connection, Request], int]


class _Resource:
    def __init__(self, owner: metadata.Owner, owner_id: OwnerId) -> None:
        self.owner = owner
        self.owner_id = owner_id
        self.of_module = owner == "module"

    async def listing(self, request: Request) -> Response:
        asked = query(request)
        page = await hub_of(request).read(
            lambda conn: metadata.listing(conn, self.owner, self.owner_id(conn, request), asked)
        )
        content = [documents.metadata(m, of_module=self.of_module) for m in page.content]
        return answer(request, listing(page, content))

    async def create(self, request: Request) -> Response:
        sent = await body(request, list[bodies.MetadataPost])
        hub = hub_of(request)
        entries = [
            metadata.Metadata(key=m.key, value=m.value, visible=m.target_visible) for m in sent
        ]
        limit = hub.config.quotas.metadata_per_entity
        made = await hub.write(
            lambda tx: metadata.create(
                tx, self.owner, self.owner_id(tx.conn, request), entries, limit=limit
            )
        )
        content = [documents.metadata(m, of_module=self.of_module) for m in made]
        return answer(request, content, 201)

    async def get(self, request: Request) -> Response:
        key = str(request.path_params["key"])
        found = await hub_of(request).read(
            lambda conn: metadata.get(conn, self.owner, self.owner_id(conn, request), key)
        )
        return answer(request, documents.metadata(found, of_module=self.of_module))

    async def put(self, request: Request) -> Response:
        key = str(request.path_params["key"])
        sent = await body(request, bodies.MetadataPut)
        changed = await hub_of(request).write(
            lambda tx: metadata.change(
                tx,
                self.owner,
                self.owner_id(tx.conn, request),
                key,
                value=sent.value,
                visible=sent.target_visible,
            )
        )
        return answer(request, documents.metadata(changed, of_module=self.of_module))

    async def delete(self, request: Request) -> Response:
        key = str(request.path_params["key"])
        await hub_of(request).write(
            lambda tx: metadata.remove(tx, self.owner, self.owner_id(tx.conn, request), key)
        )
        return done()


def metadata_routes(one: str, owner: metadata.Owner, owner_id: OwnerId) -> list[Route]:
    """Return the metadata routes below an entity's path."""
    resource = _Resource(owner, owner_id)
    base = one + "/metadata"
    return [
        Route(base, resource.listing, methods=["GET"]),
        Route(base, resource.create, methods=["POST"]),
        Route(base + "/{key}", resource.get, methods=["GET"]),
        Route(base + "/{key}", resource.put, methods=["PUT"]),
        Route(base + "/{key}", resource.delete, methods=["DELETE"]),
    ]
