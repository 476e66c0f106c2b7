"""The tenant's settings: keys, types and defaults as in hawkBit; the gateway token is ours."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping

import msgspec

from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.store.rows import Audited, Tx, fetch

Value = bool | int | str

GATEWAY_ENABLED = "authentication.gatewaytoken.enabled"
GATEWAY_KEY = "authentication.gatewaytoken.key"
TARGET_TOKEN = "authentication.targettoken.enabled"  # noqa: S105 - a key's name
POLLING = "pollingTime"
OVERDUE = "pollingOverdueTime"
APPROVAL = "rollout.approval.enabled"
CONFIRMATION = "user.confirmation.flow.enabled"
IMPLICIT_LOCK = "implicit.lock.enabled"

DEFAULTS: Mapping[str, Value] = {
    TARGET_TOKEN: True,
    GATEWAY_ENABLED: False,
    GATEWAY_KEY: "",
    POLLING: "00:00:30",
    OVERDUE: "00:05:00",
    APPROVAL: False,
    CONFIRMATION: False,
    IMPLICIT_LOCK: True,
}

_CLOCK = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)")
_TIMES = {POLLING, OVERDUE}


class Stored(Audited, frozen=True, kw_only=True):
    """A setting that somebody changed."""

    key: str
    value: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings as they stand; kept in memory, because every poll reads some."""

    values: Mapping[str, Value]

    def flag(self, key: str) -> bool:
        """Whether a switch is on."""
        return self.values[key] is True

    def text(self, key: str) -> str:
        """Return a text setting."""
        return str(self.values[key])

    def millis(self, key: str) -> int:
        """Return an ``HH:MM:SS`` setting in milliseconds."""
        return clock_ms(self.text(key))


def clock_ms(text: str) -> int:
    """Return the milliseconds of ``HH:MM:SS``.

    Raises:
        HubError: It is not of that form.
    """
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise HubError(Fault.CONFIG_VALUE, f"'{text[:50]}' is not a time of the form HH:MM:SS")
    hours, minutes, seconds = (int(part) for part in match.groups())
    return 1000 * (3600 * hours + 60 * minutes + seconds)


def clock_text(seconds: float) -> str:
    """Return ``HH:MM:SS``, at least one second and below 100 hours."""
    whole = min(max(1, round(seconds)), 359_999)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def load(conn: sqlite3.Connection) -> Settings:
    """Read the settings, defaults where nothing was set."""
    stored = {
        row.key: msgspec.json.decode(row.value, type=Value)
        for row in stored_settings(conn)
        if row.key in DEFAULTS
    }
    return Settings(values={**DEFAULTS, **stored})


def stored_settings(conn: sqlite3.Connection) -> list[Stored]:
    """Return the settings that differ from the defaults."""
    return fetch(conn, Stored, "SELECT * FROM setting")


def check(key: str, value: object) -> Value:
    """Return ``value`` if the setting takes it.

    Raises:
        HubError: ``CONFIG_KEY`` or ``CONFIG_VALUE``.
    """
    if key not in DEFAULTS:
        raise HubError(Fault.CONFIG_KEY, f"the setting '{key[:100]}' is not known to this hub")
    kind = type(DEFAULTS[key])
    if not isinstance(value, kind):
        raise HubError(Fault.CONFIG_VALUE, f"the setting '{key}' takes a {kind.__name__}")
    if key in _TIMES and isinstance(value, str):
        clock_ms(value)
    if key == GATEWAY_KEY and isinstance(value, str) and not 16 <= len(value) <= 128:
        raise HubError(Fault.CONFIG_VALUE, f"the setting '{key}' takes 16 to 128 characters")
    return value


def put(tx: Tx, values: Mapping[str, Value]) -> Settings:
    """Store settings that were checked; every poll answer may change."""
    for key, value in values.items():
        tx.conn.execute("DELETE FROM setting WHERE key = ?", (key,))
        tx.insert_audited("setting", {"key": key, "value": msgspec.json.encode(value).decode()})
    tx.everyone = True
    return load(tx.conn)


def reset(tx: Tx, key: str) -> Settings:
    """Return a setting to its default."""
    tx.conn.execute("DELETE FROM setting WHERE key = ?", (key,))
    tx.everyone = True
    return load(tx.conn)
