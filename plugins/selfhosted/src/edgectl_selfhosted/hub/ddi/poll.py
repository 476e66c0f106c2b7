"""The poll: the one request that every device sends all day.

It is answered from memory, most often before there is a request for the application at all
(``quick_answer``); only a device that was touched since its last poll costs a query, and only a
device's first poll costs a write.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import msgspec

from edgectl_selfhosted.hub.config import TENANT
from edgectl_selfhosted.hub.ddi.identity import PEER_NAME, identify, known_now, may
from edgectl_selfhosted.hub.http import header
from edgectl_selfhosted.hub.poll_cache import Entry, PollAnswer
from edgectl_selfhosted.hub.store import settings, targets

if TYPE_CHECKING:
    from starlette.types import Scope, Send

    from edgectl_selfhosted.hub.hub import Hub
    from edgectl_selfhosted.hub.store.rows import Tx

_HAL = (b"content-type", b"application/hal+json")
_PLAIN = re.compile(rb"/DEFAULT/controller/v1/([\w.~:@+-]{1,256})")
_NOT_PLAIN = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


class Asked(NamedTuple):
    """A GET as the parser saw it; ``address`` is the client's, header names are in lower case."""

    url: bytes
    headers: list[tuple[bytes, bytes]]
    scheme: str
    address: str
    peer_name: str


def quick_answer(hub: Hub, asked: Asked, *, now_ms: int) -> bytes | None:
    """Return the whole answer to a plain poll of a device that is known and may ask.

    Everything else is None, refusals too: ``poll`` decides them.
    """
    match = _PLAIN.fullmatch(asked.url)
    if match is None:
        return None
    controller_id = match[1].decode()
    entry = known_now(hub, controller_id)
    if entry is None or entry.is_new:
        return None
    headers = dict(asked.headers)
    host = headers.get(b"host")
    if not host or not _NOT_PLAIN.isdisjoint(headers):
        return None
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    if not may(hub, controller_id, entry, authorization, asked.peer_name):
        return None
    hub.polls.saw(controller_id, now_ms, asked.address)
    base = hub.config.public_url or f"{asked.scheme}://{host.decode('latin-1')}"
    made = _made(hub, entry, base)
    if headers.get(b"if-none-match") == made.etag:
        return b"HTTP/1.1 304 Not Modified\r\netag: %b\r\n\r\n" % made.etag
    return made.whole


async def poll(hub: Hub, scope: Scope, send: Send, *, now_ms: int) -> None:
    """Answer ``GET /{tenant}/controller/v1/{controllerId}``.

    Raises:
        HubError: ``UNAUTHORIZED``.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    _, tenant, _, _, controller_id = scope["path"].split("/")
    entry = await identify(
        hub, tenant, controller_id, header(headers, b"authorization"), scope.get(PEER_NAME, "")
    )
    client = scope.get("client")
    hub.polls.saw(controller_id, now_ms, client[0] if client else "")
    if entry.is_new:
        await hub.write(lambda tx: _registered(tx, controller_id), actor=controller_id)
    made = _made(hub, entry, _base(hub, scope, headers))
    etag, body = made.etag, made.body
    if header(headers, b"if-none-match").encode("latin-1") == etag:
        await _send(send, 304, [(b"etag", etag)], b"")
        return
    length = (b"content-length", str(len(body)).encode())
    await _send(send, 200, [_HAL, length, (b"etag", etag)], body)


def _made(hub: Hub, entry: Entry, base: str) -> PollAnswer:
    made = entry.answer
    if made is None or entry.base != base:
        body = msgspec.json.encode(document(entry, base, hub.settings))
        etag = b'"%08x"' % zlib.crc32(body)
        head = b"HTTP/1.1 200 OK\r\n%b: %b\r\ncontent-length: %d\r\netag: %b\r\n\r\n"
        made = PollAnswer(whole=head % (*_HAL, len(body), etag) + body, etag=etag)
        entry.base, entry.answer = base, made
    return made


def document(entry: Entry, base: str, switches: settings.Settings) -> dict[str, object]:
    """Return the poll answer; a link is there only when there is something to do."""
    root = device_url(base, entry.controller_id)
    links: dict[str, dict[str, str]] = {}
    action = entry.action
    if action is not None:
        suffix = "" if action.kind == "cancelAction" else f"?c={action.etag}"
        links[action.kind] = {"href": f"{root}/{action.kind}/{action.id}{suffix}"}
    if switches.flag(settings.CONFIRMATION):
        links.setdefault("confirmationBase", {"href": f"{root}/confirmationBase"})
    if entry.installed_action is not None:
        links["installedBase"] = {"href": f"{root}/installedBase/{entry.installed_action}"}
    if entry.wants_attributes:
        links["configData"] = {"href": f"{root}/configData"}
    return {
        "config": {"polling": {"sleep": switches.text(settings.POLLING)}},
        **({"_links": links} if links else {}),
    }


def device_url(base: str, controller_id: str) -> str:
    """Return the address of a device's own resources."""
    return f"{base}/{TENANT}/controller/v1/{quote(controller_id, safe='')}"


def _base(hub: Hub, scope: Scope, headers: list[tuple[bytes, bytes]]) -> str:
    if hub.config.public_url:
        return hub.config.public_url
    host = header(headers, b"host")
    if not host:
        server = scope.get("server") or ("127.0.0.1", hub.config.port)
        host = f"{server[0]}:{server[1]}"
    return f"{scope['scheme']}://{host}"


def _registered(tx: Tx, controller_id: str) -> None:
    target = targets.get(tx.conn, controller_id)
    if target.update_status == "unknown":
        targets.note(tx, target, {"update_status": "registered"})


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
