"""Targets: the devices, their attributes and tokens, and what they were last told to install."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Mapping

import msgspec

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import ALWAYS, Condition
from edgectl_selfhosted.hub.store import fields
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import (
    Audited,
    Scalar,
    Tx,
    column,
    fetch,
    fetch_one,
    marks,
    scalar,
)

MAX_ATTRIBUTE_CHARS = 128
_CHUNK = 500


class Target(Audited, frozen=True, kw_only=True):
    """A device as the hub knows it; ``update_status`` is hawkBit's word."""

    id: int
    controller_id: str
    name: str
    description: str | None
    token: str
    address: str | None
    ip: str | None
    update_status: str
    assigned_ds: int | None
    installed_ds: int | None
    installed_at: int | None
    installed_action: int | None
    last_seen_at: int | None
    request_attributes: bool
    type_id: int | None
    auto_confirm: bool
    auto_confirm_by: str | None
    auto_confirm_remark: str | None
    auto_confirm_at: int | None


class NewTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to make a target."""

    controller_id: str
    name: str
    description: str | None = None
    address: str | None = None
    token: str | None = None
    type_id: int | None = None
    request_attributes: bool = True
    update_status: str = "unknown"


def token_sha256(token: str) -> str:
    """Return what a token is looked up by, so that a lookup's time tells nothing about it."""
    return hashlib.sha256(token.encode()).hexdigest()


def find(conn: sqlite3.Connection, controller_id: str) -> Target | None:
    """Return a target by its controller id, or None."""
    return fetch_one(conn, Target, "SELECT * FROM target WHERE controller_id = ?", (controller_id,))


def count(conn: sqlite3.Connection) -> int:
    """Return how many targets there are."""
    return int(scalar(conn, "SELECT count(*) FROM target"))


def get(conn: sqlite3.Connection, controller_id: str) -> Target:
    """Return a target by its controller id.

    Raises:
        HubError: There is none.
    """
    target = find(conn, controller_id)
    if target is None:
        raise not_found("Target", controller_id)
    return target


def by_id(conn: sqlite3.Connection, id_: int) -> Target:
    """Return a target by the hub's own number."""
    target = fetch_one(conn, Target, "SELECT * FROM target WHERE id = ?", (id_,))
    if target is None:
        raise not_found("Target", id_)
    return target


def listing(conn: sqlite3.Connection, query: Query, where: Condition = ALWAYS) -> Page[Target]:
    """Return a page of targets."""
    return page(conn, Target, query, table="target", fields=fields.TARGET, where=where)


def ids_of(conn: sqlite3.Connection, controller_ids: Iterable[str]) -> dict[str, int]:
    """Return the numbers of those controller ids that exist."""
    wanted = list(dict.fromkeys(controller_ids))
    found: dict[str, int] = {}
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        sql = f"SELECT controller_id, id FROM target WHERE controller_id IN ({marks(chunk)})"  # noqa: S608 - marks only
        found.update((row[0], row[1]) for row in conn.execute(sql, chunk))
    return found


def create(tx: Tx, new: NewTarget) -> Target:
    """Make a target.

    Raises:
        HubError: ``EXISTS``.
    """
    token = new.token or secrets.token_hex(16)
    try:
        tx.insert_audited(
            "target",
            {
                "controller_id": new.controller_id,
                "name": new.name,
                "description": new.description,
                "address": new.address,
                "token": token,
                "token_sha256": token_sha256(token),
                "type_id": new.type_id,
                "request_attributes": new.request_attributes,
                "update_status": new.update_status,
            },
        )
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a target '{new.controller_id}' exists already") from exc
    tx.touched.add(new.controller_id)
    return get(tx.conn, new.controller_id)


def change(tx: Tx, target: Target, values: Mapping[str, Scalar]) -> Target:
    """Change columns of a target."""
    extra = {"token_sha256": token_sha256(str(values["token"]))} if "token" in values else {}
    if values:
        tx.update_audited("target", target.id, {**values, **extra})
    tx.touched.add(target.controller_id)
    return get(tx.conn, target.controller_id)


def note(tx: Tx, target: Target, values: Mapping[str, Scalar]) -> None:
    """Change what a device's own doing changes; it is nobody's modification."""
    tx.update("target", target.id, values)
    tx.touched.add(target.controller_id)


def remove(tx: Tx, controller_id: str) -> None:
    """Remove a target with its actions and attributes.

    Raises:
        HubError: There is none.
    """
    target = get(tx.conn, controller_id)
    tx.conn.execute("DELETE FROM target WHERE id = ?", (target.id,))
    tx.touched.add(controller_id)
    tx.wake = True


def attributes(conn: sqlite3.Connection, target_id: int) -> dict[str, str]:
    """Return what the device said of itself."""
    rows = conn.execute(
        "SELECT key, value FROM target_attribute WHERE target_id = ? ORDER BY key", (target_id,)
    )
    return {row[0]: row[1] for row in rows}


def put_attributes(
    tx: Tx, target: Target, mode: str, data: Mapping[str, str | None], *, limit: int
) -> None:
    """Merge, replace or remove attributes, and stop asking for them.

    Raises:
        HubError: ``ATTRIBUTES`` for a bad key or value, ``QUOTA`` for too many.
    """
    for key, value in data.items():
        if not key or len(key) > MAX_ATTRIBUTE_CHARS or len(value or "") > MAX_ATTRIBUTE_CHARS:
            raise HubError(
                Fault.ATTRIBUTES,
                f"the attribute '{key[:50]}' has a key or value that is empty or longer than "
                f"{MAX_ATTRIBUTE_CHARS} characters",
            )
    if mode == "replace":
        tx.conn.execute("DELETE FROM target_attribute WHERE target_id = ?", (target.id,))
    for key, value in data.items():
        if mode == "remove" or value is None:
            tx.conn.execute(
                "DELETE FROM target_attribute WHERE target_id = ? AND key = ?", (target.id, key)
            )
        else:
            tx.conn.execute(
                "INSERT INTO target_attribute VALUES (?, ?, ?) "
                "ON CONFLICT (target_id, key) DO UPDATE SET value = excluded.value",
                (target.id, key, value),
            )
    count = len(attributes(tx.conn, target.id))
    if count > limit:
        raise HubError(Fault.QUOTA, f"a target has at most {limit} attributes, this one {count}")
    note(tx, target, {"request_attributes": 0})


def devices_of_token(conn: sqlite3.Connection, token: str) -> list[Target]:
    """Return the targets whose token this is."""
    sql = "SELECT * FROM target WHERE token_sha256 = ?"
    return fetch(conn, Target, sql, (token_sha256(token),))


def seen(tx: Tx, sightings: Iterable[tuple[str, int, str]]) -> None:
    """Write down when devices polled last; (controller id, milliseconds, address)."""
    tx.conn.executemany(
        "UPDATE target SET last_seen_at = ?2, ip = ?3 WHERE controller_id = ?1", list(sightings)
    )


def controller_ids(conn: sqlite3.Connection, ids: list[int]) -> list[str]:
    """Return the controller ids of targets by number."""
    found: list[str] = []
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        sql = f"SELECT controller_id FROM target WHERE id IN ({marks(chunk)})"  # noqa: S608 - marks only
        found += column(conn, sql, chunk)
    return found
