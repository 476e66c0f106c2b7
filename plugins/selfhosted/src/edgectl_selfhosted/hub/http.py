"""Requests in, answers out: bounded bodies, JSON types, paging, links."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgectl.api import ContractError, decode_json
from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.store.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, Query
from edgectl_selfhosted.hub.store.settings import OVERDUE

if TYPE_CHECKING:
    from edgectl_selfhosted.hub.hub import Hub

T = TypeVar("T")
E = TypeVar("E")
Json = dict[str, object]

_JSON_TYPES = {"application/json", "application/hal+json"}
_LARGE = 64 << 10


def hub_of(request: Request) -> Hub:
    """Return the hub that a request came to."""
    hub: Hub = request.app.state.hub
    return hub


def base_url(request: Request) -> str:
    """Return the address by which the client reached the hub."""
    hub = hub_of(request)
    return hub.config.public_url or f"{request.url.scheme}://{request.url.netloc}"


async def body_bytes(request: Request, max_bytes: int) -> bytes:
    """Read a body.

    Raises:
        HubError: ``TOO_LARGE``.
    """
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > max_bytes:
            raise HubError(Fault.TOO_LARGE, f"a request body has at most {max_bytes} bytes")
    return bytes(found)


async def body(request: Request, type_: type[T], *, optional: bool = False) -> T:
    """Read a JSON body as a record.

    Raises:
        HubError: ``MEDIA_TYPE``, ``TOO_LARGE`` or ``BODY``.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() not in _JSON_TYPES:
        raise HubError(Fault.MEDIA_TYPE, f"'{kind[:100]}' is not taken here, JSON is")
    limit = hub_of(request).config.quotas.body_bytes
    data = await body_bytes(request, limit)
    if optional and not data.strip():
        data = b"{}"
    return await decode(data, type_, limit)


async def decode(data: bytes, type_: type[T], max_bytes: int) -> T:
    """Decode bounded JSON, a large one beside the event loop.

    Raises:
        HubError: ``BODY``.
    """

    def work() -> T:
        return decode_json(data, type_, what="the request body", max_bytes=max_bytes)

    try:
        return await asyncio.to_thread(work) if len(data) > _LARGE else work()
    except ContractError as exc:
        raise HubError(Fault.BODY, str(exc)) from exc


def query(request: Request, *, default_sort: str = "") -> Query:
    """Read offset, limit, sort and filter; numbers out of range fall to what is allowed.

    Raises:
        HubError: A number is not one.
    """
    limit = integer(request, "limit", DEFAULT_LIMIT)
    return Query(
        offset=min(max(0, integer(request, "offset", 0)), 1 << 62),
        limit=min(limit, MAX_LIMIT) if limit > 0 else DEFAULT_LIMIT,
        sort=request.query_params.get("sort", default_sort),
        q=request.query_params.get("q", ""),
        overdue_ms=hub_of(request).settings.millis(OVERDUE),
    )


def integer(request: Request, name: str, default: int) -> int:
    """Read an integer parameter.

    Raises:
        HubError: It is not an integer.
    """
    text = request.query_params.get(name, "")
    if not text:
        return default
    return to_integer(text, f"the parameter '{name}'")


def to_integer(text: str, what: str) -> int:
    """Read an integer of at most 18 digits.

    Raises:
        HubError: It is none.
    """
    if (
        len(text) <= 19
        and text.isascii()
        and text.removeprefix("-").isdigit()
        and abs(int(text)) < 1 << 62
    ):
        return int(text)
    raise HubError(Fault.CONSTRAINT, f"{what} is '{text[:50]}', not an integer")


def path_id(request: Request, name: str) -> int:
    """Read a numeric part of the path; what is no number cannot exist.

    Raises:
        HubError: ``NOT_FOUND``.
    """
    text = str(request.path_params[name])
    if len(text) <= 18 and text.isascii() and text.isdigit():
        return int(text)
    raise HubError(Fault.NOT_FOUND, f"'{text[:50]}' does not exist")


def answer(request: Request, value: object, status: int = 200) -> Response:
    """Answer with JSON; HAL+JSON unless the client asks for the plain name."""
    accept = request.headers.get("accept", "")
    plain = "application/json" in accept and "hal+json" not in accept
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json" if plain else "application/hal+json",
    )


def done(status: int = 200) -> Response:
    """Answer without a body."""
    return Response(status_code=status)


def listing(page: Page[E], content: list[Json]) -> Json:
    """Return hawkBit's form of a page."""
    return {"content": content, "total": page.total, "size": len(content)}


def link(href: str, name: str | None = None) -> dict[str, str]:
    """Return a HAL link."""
    return {"href": href, "name": name} if name else {"href": href}


def compact(values: Json) -> Json:
    """Leave out what is None, as hawkBit does."""
    return {key: value for key, value in values.items() if value is not None}


def header(scope_headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    """Return a header of a raw ASGI scope, or ""."""
    for key, value in scope_headers:
        if key == name:
            return value.decode("latin-1")
    return ""
