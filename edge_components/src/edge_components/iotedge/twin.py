"""This module's copy of its desired properties: a whole document, then patches; pure.

A patch says which version it makes. When one does not follow the version that is here, or cannot be
read, the document has to be read anew: so nothing is ever made of half a change.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json
from edge_components.contract.twin import (
    SECTION,
    DesiredRelease,
    ModuleReport,
    parse_desired,
    parse_report,
)

MAX_TWIN_BYTES = 256 << 10
VERSION = "$version"


class _Document(msgspec.Struct, frozen=True):
    desired: dict[str, Any] = {}
    reported: dict[str, Any] = {}


class TwinCopy:
    """What is known of the twin.

    Attributes:
        version: Version of the desired properties; 0 when nothing is known.
    """

    def __init__(self) -> None:
        self.version = 0
        self._seen = 0
        self._desired: dict[str, Any] = {}

    @property
    def is_behind(self) -> bool:
        """Whether a change was seen that is not in what is here."""
        return self._seen > self.version

    def replace(self, data: bytes) -> ModuleReport | None:
        """Take a whole twin; return what it holds as this module's last report.

        Raises:
            ContractError: It cannot be read.
        """
        document = decode_json(data, _Document, what="the twin", max_bytes=MAX_TWIN_BYTES)
        if _version(document.desired) < self.version:
            # A twin that was deleted and made anew counts from 1 again.
            self._seen = 0
        self._desired = document.desired
        self.version = _version(document.desired)
        return parse_report(document.reported.get(SECTION))

    def patch(self, data: bytes) -> bool:
        """Take a change; return whether it followed what is here, else it was not taken."""
        try:
            change = decode_json(
                data, dict[str, Any], what="a change of the twin", max_bytes=MAX_TWIN_BYTES
            )
        except ContractError:
            return False
        version = _version(change)
        self._seen = max(self._seen, version)
        if not self.version or version != self.version + 1:
            # What is here already came twice (QoS 1): nothing is missing.
            return bool(self.version) and 0 < version <= self.version
        self._desired = merged(self._desired, change)
        self.version = version
        return True

    def wanted(self) -> DesiredRelease | None:
        """Return what this module is to run; raises ``ContractError``."""
        return parse_desired(self._desired.get(SECTION))


def merged(old: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a document with a change in it; null removes a key (RFC 7396)."""
    result = dict(old)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            before = result.get(key)
            result[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[key] = value
    return result


def _version(section: dict[str, Any]) -> int:
    version = section.get(VERSION)
    return version if isinstance(version, int) else 0
