"""Target filters by name, and the set that their matches get automatically."""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.fiql_sql import ALWAYS, Condition, compile_query
from edgectl_selfhosted.hub.http import (
    Json,
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
from edgectl_selfhosted.hub.store import fields, filters, modules, sets
from edgectl_selfhosted.hub.store.paging import Query, placeholders
from edgectl_selfhosted.hub.store.rows import Tx


def check_filter(text: str | None) -> str:
    """Return a filter over targets that can be read.

    Raises:
        HubError: It is empty, or not FIQL over known fields.
    """
    if text is None or not text.strip():
        raise HubError(Fault.CONSTRAINT, "a target filter needs a query")
    compile_query(text, fields.TARGET, placeholders(Query()))
    return text


async def filter_page(request: Request, where: Condition = ALWAYS) -> Response:
    """Answer a page of filters."""
    asked = query(request)
    page = await hub_of(request).read(lambda conn: filters.listing(conn, asked, where))
    base = base_url(request)
    content = [documents.target_filter(f, base) for f in page.content]
    return answer(request, listing(page, content))


async def list_filters(request: Request) -> Response:
    """List filters."""
    return await filter_page(request)


async def create_filter(request: Request) -> Response:
    """Keep a filter."""
    sent = await body(request, bodies.FilterBody)
    text = check_filter(sent.query)
    if sent.name is None:
        raise HubError(Fault.CONSTRAINT, "a target filter needs a name")
    name = sent.name
    made = await hub_of(request).write(lambda tx: filters.create(tx, name, text))
    return answer(request, documents.target_filter(made, base_url(request)), 201)


async def get_filter(request: Request) -> Response:
    """Show a filter."""
    id_ = path_id(request, "filter")
    found = await hub_of(request).read(lambda conn: filters.get(conn, id_))
    return answer(request, documents.target_filter(found, base_url(request)))


async def put_filter(request: Request) -> Response:
    """Change a filter."""
    id_ = path_id(request, "filter")
    sent = await body(request, bodies.FilterBody)
    if sent.query is not None:
        check_filter(sent.query)
    values = bodies.given({"name": sent.name, "query": sent.query})
    changed = await hub_of(request).write(lambda tx: filters.change(tx, id_, values))
    return answer(request, documents.target_filter(changed, base_url(request)))


async def delete_filter(request: Request) -> Response:
    """Remove a filter."""
    id_ = path_id(request, "filter")
    await hub_of(request).write(lambda tx: filters.remove(tx, id_))
    return done()


async def get_auto_assign(request: Request) -> Response:
    """Show the set that matches get; 204 when there is none."""
    id_ = path_id(request, "filter")
    base = base_url(request)

    def work(conn: sqlite3.Connection) -> Json | None:
        ds_id = filters.get(conn, id_).auto_ds
        if ds_id is None:
            return None
        return documents.dset(sets.get(conn, ds_id), modules.of_set(conn, ds_id), base)

    found = await hub_of(request).read(work)
    return done(204) if found is None else answer(request, found)


async def post_auto_assign(request: Request) -> Response:
    """Give matches a set, now and whenever a new one appears."""
    id_ = path_id(request, "filter")
    sent = await body(request, bodies.AutoAssignment)
    if sent.type == "timeforced":
        raise HubError(Fault.CONSTRAINT, "an automatic assignment cannot be 'timeforced'")

    def work(tx: Tx) -> filters.TargetFilter:
        sets.check_assignable(tx.conn, sent.id)
        return filters.change(
            tx,
            id_,
            {
                "auto_ds": sent.id,
                "auto_type": sent.type,
                "auto_weight": sent.weight,
                "confirmation_required": sent.confirmation_required is not False,
            },
        )

    changed = await hub_of(request).write(work)
    return answer(request, documents.target_filter(changed, base_url(request)))


async def delete_auto_assign(request: Request) -> Response:
    """No longer assign by itself."""
    id_ = path_id(request, "filter")
    await hub_of(request).write(lambda tx: filters.change(tx, id_, {"auto_ds": None}))
    return done()


_BASE = "/rest/v1/targetfilters"
_ONE = _BASE + "/{filter}"

ROUTES = [
    Route(_BASE, list_filters, methods=["GET"]),
    Route(_BASE, create_filter, methods=["POST"]),
    Route(_ONE, get_filter, methods=["GET"]),
    Route(_ONE, put_filter, methods=["PUT"]),
    Route(_ONE, delete_filter, methods=["DELETE"]),
    Route(_ONE + "/autoAssignDS", get_auto_assign, methods=["GET"]),
    Route(_ONE + "/autoAssignDS", post_auto_assign, methods=["POST"]),
    Route(_ONE + "/autoAssignDS", delete_auto_assign, methods=["DELETE"]),
]
