"""The tenant's settings, and who is signed in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.config import OPERATOR, TENANT
from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.http import Json, answer, base_url, body, compact, done, hub_of, link
from edgectl_selfhosted.hub.mgmt import bodies, documents
from edgectl_selfhosted.hub.store import settings

_SettingValues = dict[str, bool | int | str]


async def _shown(request: Request) -> dict[str, Json]:
    hub = hub_of(request)
    stored = {row.key: row for row in await hub.read(settings.stored_settings)}
    root = documents.rest(base_url(request))
    found: dict[str, Json] = {}
    for key, value in hub.settings.values.items():
        row = stored.get(key)
        found[key] = compact(
            {
                "value": value,
                "global": row is None,
                "createdAt": row.created_at if row else None,
                "createdBy": row.created_by if row else None,
                "lastModifiedAt": row.modified_at if row else None,
                "lastModifiedBy": row.modified_by if row else None,
                "_links": {"self": link(f"{root}/system/configs/{key}")},
            }
        )
    return found


async def get_all(request: Request) -> Response:
    """Show all settings."""
    return answer(request, await _shown(request))


async def put_all(request: Request) -> Response:
    """Change some settings."""
    sent = await body(request, _SettingValues)
    return await _put(request, sent, list(sent))


async def get_one(request: Request) -> Response:
    """Show a setting."""
    return answer(request, await _one(request))


async def _one(request: Request) -> Json:
    key = str(request.path_params["key"])
    found = (await _shown(request)).get(key)
    if found is None:
        raise HubError(Fault.CONFIG_KEY, f"the setting '{key[:100]}' is not known to this hub")
    return found


async def put_one(request: Request) -> Response:
    """Change a setting."""
    key = str(request.path_params["key"])
    sent = await body(request, bodies.SettingBody)
    await _put(request, {key: sent.value}, [])
    return answer(request, await _one(request))


async def delete_one(request: Request) -> Response:
    """Return a setting to its default."""
    key = str(request.path_params["key"])
    await _one(request)
    hub = hub_of(request)
    hub.settings = await hub.write(lambda tx: settings.reset(tx, key))
    hub.polls.forget_all()
    return done()


async def _put(request: Request, sent: _SettingValues, shown: list[str]) -> Response:
    checked = {key: settings.check(key, value) for key, value in sent.items()}
    hub = hub_of(request)
    hub.settings = await hub.write(lambda tx: settings.put(tx, checked))
    hub.polls.forget_all()
    found = await _shown(request)
    return answer(request, [found[key] for key in shown])


async def user_info(request: Request) -> Response:
    """Show who is signed in."""
    return answer(request, {"tenant": TENANT, "username": OPERATOR})


_BASE = "/rest/v1/system/configs"

ROUTES = [
    Route(_BASE, get_all, methods=["GET"]),
    Route(_BASE, put_all, methods=["PUT"]),
    Route(_BASE + "/{key}", get_one, methods=["GET"]),
    Route(_BASE + "/{key}", put_one, methods=["PUT"]),
    Route(_BASE + "/{key}", delete_one, methods=["DELETE"]),
    Route("/rest/v1/userinfo", user_info, methods=["GET"]),
]
