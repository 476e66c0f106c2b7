"""Software modules and their artifacts, uploaded and downloaded as streams."""

from __future__ import annotations

import asyncio
import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.artifacts import Receiver
from edgectl_selfhosted.hub.download import send_artifact
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
from edgectl_selfhosted.hub.hub import Hub
from edgectl_selfhosted.hub.mgmt import bodies, documents
from edgectl_selfhosted.hub.mgmt.metadata import metadata_routes
from edgectl_selfhosted.hub.store import modules
from edgectl_selfhosted.hub.store.rows import Tx
from edgectl_selfhosted.hub.upload import check_filename, check_hashes, receive_form


async def list_modules(request: Request) -> Response:
    """List modules."""
    asked = query(request)
    page = await hub_of(request).read(lambda conn: modules.listing(conn, asked))
    base = base_url(request)
    return answer(request, listing(page, [documents.module(m, base) for m in page.content]))


async def create_modules(request: Request) -> Response:
    """Make modules; all or none."""
    sent = await body(request, list[bodies.ModulePost])

    def work(tx: Tx) -> list[modules.Module]:
        return [
            modules.create(
                tx,
                modules.NewModule(
                    type_key=m.type,
                    name=m.name,
                    version=m.version,
                    vendor=m.vendor,
                    description=m.description,
                    encrypted=m.encrypted,
                ),
            )
            for m in sent
        ]

    made = await hub_of(request).write(work)
    base = base_url(request)
    return answer(request, [documents.module(m, base) for m in made], 201)


async def get_module(request: Request) -> Response:
    """Show a module."""
    id_ = path_id(request, "module")
    found = await hub_of(request).read(lambda conn: modules.get(conn, id_))
    return answer(request, documents.module(found, base_url(request)))


async def put_module(request: Request) -> Response:
    """Change a module."""
    id_ = path_id(request, "module")
    sent = await body(request, bodies.ModulePut)
    values = bodies.given(
        {"description": sent.description, "vendor": sent.vendor, "locked": sent.locked}
    )
    changed = await hub_of(request).write(lambda tx: modules.change(tx, id_, values))
    return answer(request, documents.module(changed, base_url(request)))


async def delete_module(request: Request) -> Response:
    """Remove a module."""
    id_ = path_id(request, "module")
    hub = hub_of(request)
    digests = await hub.write(lambda tx: modules.remove(tx, id_))
    await _discard(hub, digests)
    return done()


async def _discard(hub: Hub, digests: list[str]) -> None:
    def work(tx: Tx) -> None:
        for digest in digests:
            hub.files.discard(digest, lambda sha256: modules.digest_is_used(tx.conn, sha256))

    if digests:
        await hub.write(work)


async def list_artifacts(request: Request) -> Response:
    """List a module's artifacts."""
    id_ = path_id(request, "module")

    def work(conn: sqlite3.Connection) -> list[modules.Artifact]:
        return modules.artifacts(conn, modules.get(conn, id_).id)

    base = base_url(request)
    return answer(request, [documents.artifact(a, base) for a in await hub_of(request).read(work)])


async def upload_artifact(request: Request) -> Response:
    """Take a file; it is on disk and recorded when this answers."""
    hub = hub_of(request)
    id_ = path_id(request, "module")
    await hub.read(lambda conn: modules.check_takes_artifacts(conn, id_))
    receiver = await asyncio.to_thread(hub.files.receive, hub.config.quotas.artifact_bytes)
    try:
        made = await _store_upload(request, hub, id_, receiver)
    finally:
        await asyncio.to_thread(receiver.drop)
    return answer(request, documents.artifact(made, base_url(request)), 201)


async def _store_upload(
    request: Request, hub: Hub, module_id: int, receiver: Receiver
) -> modules.Artifact:
    form = await receive_form(request, receiver)
    given = {**form.fields, **request.query_params}
    filename = check_filename(given.get("filename") or form.filename)
    new = await asyncio.to_thread(receiver.finish, filename)
    check_hashes(given, {"md5sum": new.md5, "sha1sum": new.sha1, "sha256sum": new.sha256})
    limit = hub.config.quotas.artifacts_per_module
    with hub.files.pinned(new.sha256):
        await asyncio.to_thread(hub.files.place, receiver.path, new.sha256)
        return await hub.write(lambda tx: modules.add_artifact(tx, module_id, new, limit=limit))


def _artifact(conn: sqlite3.Connection, request: Request) -> modules.Artifact:
    module = modules.get(conn, path_id(request, "module"))
    return modules.artifact(conn, module.id, path_id(request, "artifact"))


async def get_artifact(request: Request) -> Response:
    """Show an artifact."""
    found = await hub_of(request).read(lambda conn: _artifact(conn, request))
    return answer(request, documents.artifact(found, base_url(request)))


async def download_artifact(request: Request) -> Response:
    """Send an artifact's bytes."""
    hub = hub_of(request)
    found = await hub.read(lambda conn: _artifact(conn, request))
    return await send_artifact(request, found, hub.files.path(found.sha256), hub.sender)


async def delete_artifact(request: Request) -> Response:
    """Remove an artifact."""
    hub = hub_of(request)
    module_id = path_id(request, "module")
    id_ = path_id(request, "artifact")
    digest = await hub.write(lambda tx: modules.remove_artifact(tx, module_id, id_))
    await _discard(hub, [digest])
    return done()


def _owner(conn: sqlite3.Connection, request: Request) -> int:
    return modules.get(conn, path_id(request, "module")).id


_BASE = "/rest/v1/softwaremodules"
_ONE = _BASE + "/{module}"
_FILES = _ONE + "/artifacts"

ROUTES = [
    Route(_BASE, list_modules, methods=["GET"]),
    Route(_BASE, create_modules, methods=["POST"]),
    Route(_ONE, get_module, methods=["GET"]),
    Route(_ONE, put_module, methods=["PUT"]),
    Route(_ONE, delete_module, methods=["DELETE"]),
    Route(_FILES, list_artifacts, methods=["GET"]),
    Route(_FILES, upload_artifact, methods=["POST"]),
    Route(_FILES + "/{artifact}", get_artifact, methods=["GET"]),
    Route(_FILES + "/{artifact}", delete_artifact, methods=["DELETE"]),
    Route(_FILES + "/{artifact}/download", download_artifact, methods=["GET"]),
    *metadata_routes(_ONE, "module", _owner),
]
