"""The module identities of the device in the hub, made and read with the device's own key.

As aziot-identityd does: identities of what a deployment names are made ("managedBy": "IotEdge"),
those that it made and that are wanted no more are deleted. What was read is kept for offline.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.settings import DeviceSettings
from edgectl_azure_iot_edge.emulator.edge.state import Kept
from edgectl_azure_iot_edge.emulator.edge.tokens import make_token

API_VERSION = "2021-04-12"
AGENT_ID = "$edgeAgent"
HUB_ID = "$edgeHub"
MANAGED = "IotEdge"
_TIMEOUT = urllib3.Timeout(connect=5.0, read=20.0)
_NAME = "identities"


class UnreachableError(Exception):
    """The hub does not answer, or not as it has to."""


class Identity(Record, frozen=True, kw_only=True):
    """A module's identity.

    Attributes:
        generation: Changes when an identity is deleted and made anew under the same name.
        key: Its symmetric key, base64.
    """

    module_id: str
    generation: str
    key: str
    managed_by: str = ""


class Identities:
    """The identities that the device has.

    Args:
        kept: Where they outlive the process.

    Attributes:
        on_change: Called when they have changed.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        faults: FaultFile,
        kept: Kept,
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._settings = settings
        self._faults = faults
        self._kept = kept
        self._lock = threading.Lock()
        self._known = kept.read(_NAME, dict[str, Identity], {})
        self._http = http_pool(settings.trust)

    def get(self, module_id: str) -> Identity | None:
        """Return an identity; that of ``edgeHub`` is called ``$edgeHub``."""
        return self._known.get(module_id)

    def ensure(self, names: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Have an identity with a key for some modules, and none any more for others.

        ``$edgeAgent`` and ``$edgeHub`` are the hub's own, and get their keys from the device too.
        Only what was on the device and has to go is deleted: an identity that the hub made for a
        deployment which has not arrived yet has that deployment's twin already.

        Raises:
            UnreachableError: Some cannot be made now.
        """
        wanted = {*names, AGENT_ID, HUB_ID}
        known = self._known
        extra = [name for name in gone if name in known and name not in wanted]
        if not extra and all(name in known and known[name].key for name in wanted):
            return
        found = {entry["moduleId"]: _identity(entry) for entry in self._ask("GET", "modules")}
        for name in sorted(wanted):
            if name not in found or not found[name].key:
                found[name] = self._make(name, is_new=name not in found)
        for name in extra:
            if name in found and found[name].managed_by.lower() == MANAGED.lower():
                self._ask("DELETE", f"modules/{quote(name, safe='$')}", header={"If-Match": "*"})
                del found[name]
        self._replace(found)

    def _make(self, name: str, *, is_new: bool) -> Identity:
        keys = {part: _new_key() for part in ("primaryKey", "secondaryKey")}
        body = {
            "deviceId": self._settings.device_id,
            "moduleId": name,
            "managedBy": MANAGED,
            "authentication": {"type": "sas", "symmetricKey": keys},
        }
        path = f"modules/{quote(name, safe='$')}"
        header = {} if is_new else {"If-Match": "*"}
        return _identity(self._ask("PUT", path, body=body, header=header))

    def _replace(self, found: dict[str, Identity]) -> None:
        with self._lock:
            if found == self._known:
                return
            self._known = found
            self._kept.write(_NAME, found)
        self.on_change()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        header: dict[str, str] | None = None,
    ) -> Any:
        settings = self._settings
        if self._faults.now.network_cut:
            raise UnreachableError("the network is cut")
        address = f"{settings.hub_host}/devices/{settings.device_id}"
        url = f"https://{settings.hub_host}/devices/{quote(settings.device_id, safe='')}/{path}"
        headers = {
            "Authorization": make_token(address, settings.key, self._faults.clock()),
            **(header or {}),
        }
        try:
            answer = self._http.request(
                method, f"{url}?api-version={API_VERSION}", json=body, headers=headers
            )
        except urllib3.exceptions.HTTPError as exc:
            raise UnreachableError(f"{method} {url}: {exc}") from exc
        if answer.status >= 300:
            raise UnreachableError(f"{method} {url}: {answer.status} {answer.data[:300]!r}")
        return json.loads(answer.data) if answer.data else None


def http_pool(trust: Path | None) -> urllib3.PoolManager:
    """Return a pool that trusts a device's authorities, retries nothing and has time limits."""
    return urllib3.PoolManager(
        ca_certs=None if trust is None else str(trust), retries=False, timeout=_TIMEOUT
    )


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _identity(entry: Any) -> Identity:
    authentication = entry.get("authentication") or {}
    return Identity(
        module_id=entry["moduleId"],
        generation=str(entry.get("generationId") or ""),
        key=str((authentication.get("symmetricKey") or {}).get("primaryKey") or ""),
        managed_by=str(entry.get("managedBy") or ""),
    )
