"""Types of modules, of distribution sets and of targets."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.errors import not_found
from edgectl_selfhosted.hub.http import (
    answer,
    base_url,
    body,
    done,
    hub_of,
    path_id,
    query,
)
from edgectl_selfhosted.hub.mgmt import bodies, documents
from edgectl_selfhosted.hub.store import types
from edgectl_selfhosted.hub.store.paging import Page, Query
from edgectl_selfhosted.hub.store.rows import Scalar, Tx

AnyPage = Page[types.ModuleType] | Page[types.SetType] | Page[types.TargetType]


class _Types:
    """The requests that all three kinds of types have."""

    def __init__(
        self,
        path: str,
        table: str,
        *,
        page: Callable[[sqlite3.Connection, Query], AnyPage],
        get: Callable[[sqlite3.Connection, int], documents.AnyType],
        remove: Callable[[Tx, int], None],
    ) -> None:
        self.path = path
        self.table = table
        self.page = page
        self.find = get
        self.remove = remove

    async def listing(self, request: Request) -> Response:
        asked = query(request)
        page = await hub_of(request).read(lambda conn: self.page(conn, asked))
        base = base_url(request)
        content = [documents.type_(t, base, self.path) for t in page.content]
        return answer(request, {"content": content, "total": page.total, "size": len(content)})

    async def create(self, request: Request) -> Response:
        sent = await body(request, list[bodies.TypePost])

        def work(tx: Tx) -> list[documents.AnyType]:
            return [self.find(tx.conn, self._create(tx, post)) for post in sent]

        made = await hub_of(request).write(work)
        base = base_url(request)
        return answer(request, [documents.type_(t, base, self.path) for t in made], 201)

    def _create(self, tx: Tx, post: bodies.TypePost) -> int:
        values: dict[str, Scalar] = {
            "key": post.key or post.name,
            "name": post.name,
            "description": post.description,
            "colour": post.colour,
        }
        if self.table == "module_type":
            values["max_assignments"] = post.max_assignments or (1 << 31) - 1
        id_ = types.create(tx, self.table, values)
        if self.table == "set_type":
            for mandatory, held in ((True, post.mandatorymodules), (False, post.optionalmodules)):
                for module in held:
                    types.allow_module(tx, id_, module.id, mandatory=mandatory)
        if self.table == "target_type":
            types.allow_set_types(tx, id_, [t.id for t in post.compatibledistributionsettypes])
        return id_

    async def get(self, request: Request) -> Response:
        id_ = path_id(request, "type")
        found = await hub_of(request).read(lambda conn: self.find(conn, id_))
        return answer(request, documents.type_(found, base_url(request), self.path))

    async def put(self, request: Request) -> Response:
        id_ = path_id(request, "type")
        sent = await body(request, bodies.TypePut)
        values = bodies.given({"description": sent.description, "colour": sent.colour})
        if self.table == "target_type" and sent.name is not None:
            values["name"] = sent.name

        def work(tx: Tx) -> documents.AnyType:
            self.find(tx.conn, id_)
            types.change(tx, self.table, id_, values)
            return self.find(tx.conn, id_)

        changed = await hub_of(request).write(work)
        return answer(request, documents.type_(changed, base_url(request), self.path))

    async def delete(self, request: Request) -> Response:
        id_ = path_id(request, "type")
        await hub_of(request).write(lambda tx: self.remove(tx, id_))
        return done()

    def routes(self) -> list[Route]:
        base = f"/rest/v1/{self.path}"
        return [
            Route(base, self.listing, methods=["GET"]),
            Route(base, self.create, methods=["POST"]),
            Route(base + "/{type}", self.get, methods=["GET"]),
            Route(base + "/{type}", self.put, methods=["PUT"]),
            Route(base + "/{type}", self.delete, methods=["DELETE"]),
        ]


class _Held:
    """The module types that a set type must, or may, hold."""

    def __init__(self, *, mandatory: bool) -> None:
        self.mandatory = mandatory

    def find(self, conn: sqlite3.Connection, request: Request) -> list[types.ModuleType]:
        set_type = types.set_type(conn, path_id(request, "type"))
        return types.modules_of_set_type(conn, set_type.id, mandatory=self.mandatory)

    async def listing(self, request: Request) -> Response:
        found = await hub_of(request).read(lambda conn: self.find(conn, request))
        base = base_url(request)
        return answer(request, [documents.type_(t, base, _MODULES) for t in found])

    async def add(self, request: Request) -> Response:
        id_ = path_id(request, "type")
        sent = await body(request, bodies.IdBody)
        await hub_of(request).write(
            lambda tx: types.allow_module(tx, id_, sent.id, mandatory=self.mandatory)
        )
        return done()

    def one(self, conn: sqlite3.Connection, request: Request) -> types.ModuleType:
        wanted = path_id(request, "module")
        for found in self.find(conn, request):
            if found.id == wanted:
                return found
        raise not_found("Software module type", wanted)

    async def get(self, request: Request) -> Response:
        found = await hub_of(request).read(lambda conn: self.one(conn, request))
        return answer(request, documents.type_(found, base_url(request), _MODULES))

    async def delete(self, request: Request) -> Response:
        def work(tx: Tx) -> None:
            found = self.one(tx.conn, request)
            types.forbid_module(tx, path_id(request, "type"), found.id)

        await hub_of(request).write(work)
        return done()

    def routes(self) -> list[Route]:
        word = "mandatorymoduletypes" if self.mandatory else "optionalmoduletypes"
        base = f"/rest/v1/{_SETS}/{{type}}/{word}"
        return [
            Route(base, self.listing, methods=["GET"]),
            Route(base, self.add, methods=["POST"]),
            Route(base + "/{module}", self.get, methods=["GET"]),
            Route(base + "/{module}", self.delete, methods=["DELETE"]),
        ]


async def list_compatible(request: Request) -> Response:
    """List the set types that a target type takes."""
    id_ = path_id(request, "type")

    def work(conn: sqlite3.Connection) -> list[types.SetType]:
        return types.set_types_of_target_type(conn, types.target_type(conn, id_).id)

    found = await hub_of(request).read(work)
    base = base_url(request)
    return answer(request, [documents.type_(t, base, _SETS) for t in found])


async def add_compatible(request: Request) -> Response:
    """Let a target type take set types."""
    id_ = path_id(request, "type")
    sent = await body(request, list[bodies.IdBody])
    await hub_of(request).write(lambda tx: types.allow_set_types(tx, id_, [t.id for t in sent]))
    return done()


async def delete_compatible(request: Request) -> Response:
    """No longer let a target type take a set type."""
    id_ = path_id(request, "type")
    other = path_id(request, "set_type")

    def work(tx: Tx) -> None:
        types.target_type(tx.conn, id_)
        types.set_type(tx.conn, other)
        types.forbid_set_type(tx, id_, other)

    await hub_of(request).write(work)
    return done()


_MODULES = "softwaremoduletypes"
_SETS = "distributionsettypes"
_TARGETS = "targettypes"
_COMPATIBLE = f"/rest/v1/{_TARGETS}/{{type}}/compatibledistributionsettypes"

ROUTES = [
    *_Types(
        _MODULES,
        "module_type",
        page=types.module_types,
        get=types.module_type,
        remove=types.remove_module_type,
    ).routes(),
    *_Types(
        _SETS,
        "set_type",
        page=types.set_types,
        get=types.set_type,
        remove=types.remove_set_type,
    ).routes(),
    *_Types(
        _TARGETS,
        "target_type",
        page=types.target_types,
        get=types.target_type,
        remove=types.remove_target_type,
    ).routes(),
    *_Held(mandatory=True).routes(),
    *_Held(mandatory=False).routes(),
    Route(_COMPATIBLE, list_compatible, methods=["GET"]),
    Route(_COMPATIBLE, add_compatible, methods=["POST"]),
    Route(_COMPATIBLE + "/{set_type}", delete_compatible, methods=["DELETE"]),
]
