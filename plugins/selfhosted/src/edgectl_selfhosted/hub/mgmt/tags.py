"""Tags of targets and of distribution sets, and what carries them."""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import Condition
from edgectl_selfhosted.hub.http import (
    answer,
    base_url,
    body,
    done,
    hub_of,
    listing,
    path_id,
    query,
)
from edgectl_selfhosted.hub.mgmt import bodies, documents
from edgectl_selfhosted.hub.mgmt.sets import set_page
from edgectl_selfhosted.hub.mgmt.targets import target_page
from edgectl_selfhosted.hub.store import sets, tags, targets
from edgectl_selfhosted.hub.store.rows import Tx

_POLICIES = {"fail", "on_what_found_and_fail", "on_what_found_and_success"}


class _Tags:
    def __init__(self, kind: tags.Kind) -> None:
        self.kind: tags.Kind = kind

    async def listing(self, request: Request) -> Response:
        asked = query(request)
        page = await hub_of(request).read(lambda conn: tags.listing(conn, self.kind, asked))
        base = base_url(request)
        return answer(request, listing(page, [documents.tag(t, base) for t in page.content]))

    async def create(self, request: Request) -> Response:
        sent = await body(request, list[bodies.TagBody])

        def work(tx: Tx) -> list[tags.Tag]:
            return [
                tags.create(
                    tx, self.kind, name=_name(t), description=t.description, colour=t.colour
                )
                for t in sent
            ]

        made = await hub_of(request).write(work)
        base = base_url(request)
        return answer(request, [documents.tag(t, base) for t in made], 201)

    async def get(self, request: Request) -> Response:
        id_ = path_id(request, "tag")
        found = await hub_of(request).read(lambda conn: tags.get(conn, self.kind, id_))
        return answer(request, documents.tag(found, base_url(request)))

    async def put(self, request: Request) -> Response:
        id_ = path_id(request, "tag")
        sent = await body(request, bodies.TagBody)
        values = bodies.given(
            {"name": sent.name, "description": sent.description, "colour": sent.colour}
        )
        changed = await hub_of(request).write(lambda tx: tags.change(tx, self.kind, id_, values))
        return answer(request, documents.tag(changed, base_url(request)))

    async def delete(self, request: Request) -> Response:
        id_ = path_id(request, "tag")
        await hub_of(request).write(lambda tx: tags.remove(tx, self.kind, id_))
        return done()

    async def assigned(self, request: Request) -> Response:
        id_ = path_id(request, "tag")
        await hub_of(request).read(lambda conn: tags.get(conn, self.kind, id_))
        owners = f"SELECT owner_id FROM {self.kind}_tag WHERE tag_id = ?"  # noqa: S608 - a Literal
        where = Condition(sql=f"{self.kind}.id IN ({owners})", params=(id_,))
        show = target_page if self.kind == "target" else set_page
        return await show(request, where)

    async def assign(self, request: Request) -> Response:
        return await self._change(request, assign=True)

    async def unassign(self, request: Request) -> Response:
        return await self._change(request, assign=False)

    async def _change(self, request: Request, *, assign: bool) -> Response:
        id_ = path_id(request, "tag")
        policy = request.query_params.get("onNotFoundPolicy", "fail").lower()
        if policy not in _POLICIES:
            raise HubError(Fault.CONSTRAINT, f"'{policy[:50]}' is not a policy for what is missing")
        wanted = await self._wanted(request)

        def work(tx: Tx) -> list[str]:
            found, missing = self._owners(tx.conn, wanted)
            if missing and policy == "fail":
                raise not_found("Entity", missing[0])
            verb = tags.assign if assign else tags.unassign
            verb(tx, self.kind, id_, found)
            return missing

        missing = await hub_of(request).write(work)
        if missing and policy == "on_what_found_and_fail":
            raise not_found("Entity", missing[0])
        return done()

    async def _wanted(self, request: Request) -> list[str]:
        if "owner" in request.path_params:
            return [str(request.path_params["owner"])]
        if self.kind == "target":
            return await body(request, list[str])
        return [str(id_) for id_ in await body(request, list[int])]

    def _owners(self, conn: sqlite3.Connection, wanted: list[str]) -> tuple[list[int], list[str]]:
        if self.kind == "target":
            found = targets.ids_of(conn, wanted)
        else:
            found = {text: int(text) for text in wanted if _set_exists(conn, text)}
        return list(found.values()), [text for text in wanted if text not in found]

    def routes(self, base: str) -> list[Route]:
        one = base + "/{tag}"
        many = one + "/assigned"
        return [
            Route(base, self.listing, methods=["GET"]),
            Route(base, self.create, methods=["POST"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.put, methods=["PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(many, self.assigned, methods=["GET"]),
            Route(many, self.assign, methods=["PUT", "POST"]),
            Route(many, self.unassign, methods=["DELETE"]),
            Route(many + "/{owner}", self.assign, methods=["POST"]),
            Route(many + "/{owner}", self.unassign, methods=["DELETE"]),
        ]


def _name(sent: bodies.TagBody) -> str:
    if sent.name is None:
        raise HubError(Fault.CONSTRAINT, "a tag needs a name")
    return sent.name


def _set_exists(conn: sqlite3.Connection, text: str) -> bool:
    try:
        sets.get(conn, int(text))
    except (HubError, ValueError, OverflowError):
        return False
    return True


ROUTES = [
    *_Tags("target").routes("/rest/v1/targettags"),
    *_Tags("dset").routes("/rest/v1/distributionsettags"),
]
