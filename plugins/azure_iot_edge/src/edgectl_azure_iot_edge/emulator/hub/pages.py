"""Queries over HTTP: pages of up to 100 rows by default, and tokens that say where to go on.

Headers ``x-ms-max-item-count`` and ``x-ms-continuation``; the answer's ``x-ms-item-type`` is
``Twin`` for whole twins, ``DeviceJob`` for jobs and ``Raw`` for everything else. Source:
learn.microsoft.com/rest/api/iothub/service/query/get-twins ("page size up to 1000" in the SDKs).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from itertools import islice
from typing import Any

import msgspec
from werkzeug.wrappers import Request, Response

from edgectl_azure_iot_edge.emulator.hub.errors import NESTED, HubError
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.emulator.hub.query.evaluate import run
from edgectl_azure_iot_edge.emulator.hub.query.lexer import QueryError
from edgectl_azure_iot_edge.emulator.hub.query.parser import parse_query
from edgectl_azure_iot_edge.emulator.hub.query.tree import Query

DEFAULT_PAGE = 100
MAX_PAGE = 1_000
MAX_QUERY_CHARACTERS = 32 << 10


def answer_query(hub: Hub, request: Request) -> Response:
    """Answer ``POST /devices/query``.

    Raises:
        HubError: The query, the page size or the token is not good.
    """
    text = _text(request)
    try:
        query = parse_query(text)
    except QueryError as exc:
        raise HubError("GenericBadRequest", f"BadRequest: {exc}", envelope=NESTED) from exc
    size = _size(request.headers.get("x-ms-max-item-count"))
    start = _start(request.headers.get("x-ms-continuation"), text)
    rows = run(query, _documents(hub, query))
    page = list(islice(rows, start, start + size + 1))
    answer = Response(
        msgspec.json.encode(page[:size]), content_type="application/json; charset=utf-8"
    )
    answer.headers["x-ms-item-type"] = _kind(query)
    if len(page) > size:
        answer.headers["x-ms-continuation"] = _token(start + size, text)
    return answer


def _documents(hub: Hub, query: Query) -> list[dict[str, Any]]:
    if query.collection == "devices.jobs":
        return hub.jobs.rows()
    return hub.index.documents(query.collection)


def _kind(query: Query) -> str:
    if query.collection == "devices.jobs":
        return "DeviceJob"
    return "Twin" if query.columns is None else "Raw"


def _text(request: Request) -> str:
    try:
        body = msgspec.json.decode(request.get_data(cache=True))
    except msgspec.DecodeError as exc:
        raise HubError("IotHubFormatError", f"The body is no JSON: {exc}") from exc
    text = body.get("query") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_QUERY_CHARACTERS:
        raise HubError("ArgumentInvalid", "The query is missing or too long", envelope=NESTED)
    return text


def _size(header: str | None) -> int:
    """Return a page's size; the service takes its own when what is asked for is not acceptable."""
    if not header:
        return DEFAULT_PAGE
    if header == "-1":
        return DEFAULT_PAGE
    if not header.isdigit() or int(header) == 0:
        raise HubError("ArgumentInvalid", f"x-ms-max-item-count is '{header}'", envelope=NESTED)
    return min(int(header), MAX_PAGE)


def _token(start: int, text: str) -> str:
    return base64.b64encode(f"{start}:{_digest(text)}".encode()).decode()


def _start(token: str | None, text: str) -> int:
    if not token:
        return 0
    try:
        start, _, digest = base64.b64decode(token, validate=True).decode().partition(":")
        if digest == _digest(text):
            return int(start)
    except (binascii.Error, ValueError):
        pass
    raise HubError("ArgumentInvalid", "The continuation token is invalid.", envelope=NESTED)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
