"""Software modules and the artifacts that lie in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import Condition, both
from edgectl_selfhosted.hub.store import fields, types
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import Audited, Scalar, Tx, column, fetch, fetch_one, scalar

_LIVE = Condition(sql="module.deleted = 0")
_COLUMNS = (
    "module.*, (SELECT key FROM module_type t WHERE t.id = module.type_id) AS type_key, "
    "(SELECT name FROM module_type t WHERE t.id = module.type_id) AS type_name"
)


class Module(Audited, frozen=True, kw_only=True):
    """A software module; ``locked`` ones keep their artifacts."""

    id: int
    type_id: int
    type_key: str
    type_name: str
    name: str
    version: str
    vendor: str | None
    description: str | None
    encrypted: bool
    locked: bool
    deleted: bool


class Artifact(Audited, frozen=True, kw_only=True):
    """A file of a module; its bytes lie in the artifact store by ``sha256``."""

    id: int
    module_id: int
    filename: str
    size: int
    md5: str
    sha1: str
    sha256: str


class NewModule(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to make a module."""

    type_key: str
    name: str
    version: str
    vendor: str | None = None
    description: str | None = None
    encrypted: bool = False


class NewArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """A file that lies in the artifact store already."""

    filename: str
    size: int
    md5: str
    sha1: str
    sha256: str


def listing(conn: sqlite3.Connection, query: Query, where: Condition = _LIVE) -> Page[Module]:
    """Return a page of modules that were not deleted."""
    return page(
        conn,
        Module,
        query,
        table="module",
        fields=fields.MODULE,
        columns=_COLUMNS,
        where=both(_LIVE, where),
    )


def get(conn: sqlite3.Connection, id_: int) -> Module:
    """Return a module.

    Raises:
        HubError: There is none.
    """
    sql = f"SELECT {_COLUMNS} FROM module WHERE id = ? AND deleted = 0"  # noqa: S608 - ours
    found = fetch_one(conn, Module, sql, (id_,))
    if found is None:
        raise not_found("Software module", id_)
    return found


def of_set(conn: sqlite3.Connection, ds_id: int) -> list[Module]:
    """Return the modules of a distribution set."""
    sql = (
        f"SELECT {_COLUMNS} FROM module JOIN dset_module x ON x.module_id = module.id "  # noqa: S608 - ours
        "WHERE x.ds_id = ? ORDER BY module.id"
    )
    return fetch(conn, Module, sql, (ds_id,))


def create(tx: Tx, new: NewModule) -> Module:
    """Make a module.

    Raises:
        HubError: ``EXISTS`` for a type, name and version that are taken together.
    """
    kind = types.module_type_by_key(tx.conn, new.type_key)
    values: dict[str, Scalar] = {
        "type_id": kind.id,
        "name": new.name,
        "version": new.version,
        "vendor": new.vendor,
        "description": new.description,
        "encrypted": new.encrypted,
    }
    try:
        return get(tx.conn, tx.insert_audited("module", values))
    except sqlite3.IntegrityError as exc:
        raise HubError(
            Fault.EXISTS, f"a module '{new.name}' version '{new.version}' exists already"
        ) from exc


def change(tx: Tx, id_: int, values: Mapping[str, Scalar]) -> Module:
    """Change a module's description, vendor or lock."""
    get(tx.conn, id_)
    tx.update_audited("module", id_, values)
    return get(tx.conn, id_)


def remove(tx: Tx, id_: int) -> list[str]:
    """Remove a module; one that a set holds is only marked as deleted.

    Returns:
        The digests whose bytes may be unused now.
    """
    get(tx.conn, id_)
    if scalar(tx.conn, "SELECT 1 FROM dset_module WHERE module_id = ? LIMIT 1", (id_,)):
        tx.update_audited("module", id_, {"deleted": 1})
        return []
    digests = column(tx.conn, "SELECT sha256 FROM artifact WHERE module_id = ?", (id_,))
    tx.conn.execute("DELETE FROM module WHERE id = ?", (id_,))
    return [str(digest) for digest in digests]


def artifacts(conn: sqlite3.Connection, module_id: int) -> list[Artifact]:
    """Return a module's artifacts."""
    sql = "SELECT * FROM artifact WHERE module_id = ? ORDER BY id"
    return fetch(conn, Artifact, sql, (module_id,))


def artifact(conn: sqlite3.Connection, module_id: int, id_: int) -> Artifact:
    """Return one artifact of a module.

    Raises:
        HubError: There is none.
    """
    sql = "SELECT * FROM artifact WHERE module_id = ? AND id = ?"
    found = fetch_one(conn, Artifact, sql, (module_id, id_))
    if found is None:
        raise not_found("Artifact", id_)
    return found


def artifact_named(conn: sqlite3.Connection, module_id: int, filename: str) -> Artifact | None:
    """Return an artifact by its file name, or None."""
    sql = "SELECT * FROM artifact WHERE module_id = ? AND filename = ?"
    return fetch_one(conn, Artifact, sql, (module_id, filename))


def check_takes_artifacts(conn: sqlite3.Connection, module_id: int) -> Module:
    """Return the module if its artifacts may change.

    Raises:
        HubError: ``LOCKED`` or ``NOT_FOUND``.
    """
    module = get(conn, module_id)
    if module.locked:
        raise HubError(
            Fault.LOCKED, f"the module '{module.name}' is locked: a set that was assigned holds it"
        )
    return module


def add_artifact(tx: Tx, module_id: int, new: NewArtifact, *, limit: int) -> Artifact:
    """Record an artifact.

    Raises:
        HubError: ``EXISTS`` for a file name that is taken, ``QUOTA``, ``LOCKED``.
    """
    check_takes_artifacts(tx.conn, module_id)
    if len(artifacts(tx.conn, module_id)) >= limit:
        raise HubError(Fault.QUOTA, f"a module has at most {limit} artifacts")
    values: dict[str, Scalar] = {
        "module_id": module_id,
        "filename": new.filename,
        "size": new.size,
        "md5": new.md5,
        "sha1": new.sha1,
        "sha256": new.sha256,
    }
    try:
        return artifact(tx.conn, module_id, tx.insert_audited("artifact", values))
    except sqlite3.IntegrityError as exc:
        raise HubError(
            Fault.EXISTS, f"the module has an artifact '{new.filename}' already"
        ) from exc


def remove_artifact(tx: Tx, module_id: int, id_: int) -> str:
    """Remove an artifact and return its digest."""
    check_takes_artifacts(tx.conn, module_id)
    digest = artifact(tx.conn, module_id, id_).sha256
    tx.conn.execute("DELETE FROM artifact WHERE id = ?", (id_,))
    return digest


def digest_is_used(conn: sqlite3.Connection, sha256: str) -> bool:
    """Whether any artifact has these bytes."""
    return bool(scalar(conn, "SELECT 1 FROM artifact WHERE sha256 = ? LIMIT 1", (sha256,)))
