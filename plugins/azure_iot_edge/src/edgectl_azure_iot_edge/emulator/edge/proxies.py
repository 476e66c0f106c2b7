"""What edgeHub does for a module: its connection to the hub, and its twin while there is none.

The module speaks to edgeHub only. What it reports while the hub cannot be reached is kept and
brought later; what was desired last is what it gets then.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from edgectl_azure_iot_edge.emulator.edge import topics
from edgectl_azure_iot_edge.emulator.edge.hubclient import ModuleClient
from edgectl_azure_iot_edge.emulator.edge.identities import UnreachableError
from edgectl_azure_iot_edge.emulator.edge.report import patch as patch_between
from edgectl_azure_iot_edge.emulator.edge.state import Kept
from edgectl_azure_iot_edge.emulator.edge.uplink import Desired, HubLink, Method

log = logging.getLogger(__name__)

UP_WAIT_S = 5.0
METHOD_TIMEOUT_S = 60.0
Connect = Callable[[str, Callable[[], None], Desired, Method], HubLink]


class Proxy:
    """One module's.

    Args:
        connect: Makes the link as the module: its name, what to do when connected, with desired
            properties and with methods.
    """

    def __init__(self, module: str, kept: Kept, connect: Connect) -> None:
        self.module = module
        self.client: ModuleClient | None = None
        self._kept = kept
        self._lock = threading.RLock()
        self._number = 0
        self._results: dict[str, Future[tuple[int, bytes]]] = {}
        self._twin: dict[str, Any] = kept.read(f"twin-{module}", dict[str, Any], {})
        self._unsent: dict[str, Any] = kept.read(f"unsent-{module}", dict[str, Any], {})
        self.link = connect(module, self._connected, self._desired, self._method)
        self.link.start()

    def stop(self) -> None:
        """Close the link."""
        self.link.stop()

    def twin(self) -> tuple[int, bytes]:
        """Return what a module that asks for its twin is answered."""
        if self.link.wait_up(UP_WAIT_S if not self._twin else UP_WAIT_S / 10):
            try:
                self._keep_twin(self.link.twin())
            except UnreachableError as exc:
                log.info("the twin of %s is the one that is known: %s", self.module, exc)
        with self._lock:
            if not self._twin:
                return 504, b"{}"
            return 200, json.dumps(self._twin).encode()

    def report(self, payload: bytes) -> tuple[int, int]:
        """Take what a module reports; return a status and the section's version."""
        try:
            patch = json.loads(payload)
        except ValueError:
            return 400, 0
        if not isinstance(patch, dict):
            return 400, 0
        with self._lock:
            reported = self._twin.get("reported") or {}
            version = int(reported.get("$version", 0)) + 1
            unsent = _overlaid(self._unsent, patch)
            self._set_unsent(unsent)
            self._twin["reported"] = {**topics.merged(reported, patch), "$version": version}
            self._kept.write(f"twin-{self.module}", self._twin)
        self._flush()
        return 204, version

    def result(self, rid: str, status: int, payload: bytes) -> None:
        """Take a module's answer to a method."""
        with self._lock:
            future = self._results.get(rid)
        if future is not None and not future.done():
            future.set_result((status, payload))

    def _flush(self) -> None:
        with self._lock:
            if not self._unsent or not self.link.is_up:
                return
            sent = dict(self._unsent)
            try:
                self.link.report(sent)
            except UnreachableError as exc:
                log.info("what %s reports waits: %s", self.module, exc)
                return
            self._set_unsent({})

    def _set_unsent(self, unsent: dict[str, Any]) -> None:
        self._unsent = unsent
        self._kept.write(f"unsent-{self.module}", unsent)

    def _connected(self) -> None:
        self._flush()
        try:
            found = self.link.twin()
        except UnreachableError as exc:
            log.info("the twin of %s is not given: %s", self.module, exc)
            return
        with self._lock:
            before = self._twin.get("desired") or {}
            self._keep_twin(found)
            after = self._twin.get("desired") or {}
        version = int(after.get("$version", 0))
        if before and version > int(before.get("$version", 0)):
            self._tell(patch_between(before, after), version)

    def _desired(self, patch: Mapping[str, Any], version: int) -> None:
        with self._lock:
            desired = self._twin.get("desired") or {}
            if version and version <= int(desired.get("$version", 0)):
                return
            self._twin["desired"] = topics.merged(desired, {**patch, "$version": version})
            self._kept.write(f"twin-{self.module}", self._twin)
        self._tell({**patch, "$version": version}, version)

    def _tell(self, patch: Mapping[str, Any], version: int) -> None:
        client = self.client
        topic = f"{topics.DESIRED}?$version={version}"
        if client is not None and client.wants(topic.partition("?")[0]):
            client.push(topic, json.dumps(patch).encode())

    def _keep_twin(self, found: dict[str, Any]) -> None:
        with self._lock:
            if self._unsent:
                found["reported"] = topics.merged(found.get("reported") or {}, self._unsent)
            if found != self._twin:
                self._twin = found
                self._kept.write(f"twin-{self.module}", found)

    def _method(self, name: str, payload: bytes) -> tuple[int, bytes]:
        client = self.client
        if client is None or not client.wants(f"{topics.METHOD}{name}/"):
            return 404, b'{"message": "the module is not connected"}'
        answer: Future[tuple[int, bytes]] = Future()
        with self._lock:
            self._number += 1
            rid = format(self._number, "x")
            self._results[rid] = answer
        client.push(f"{topics.METHOD}{name}/?$rid={rid}", payload)
        try:
            return answer.result(METHOD_TIMEOUT_S)
        except FutureTimeout:
            return 504, b'{"message": "the module does not answer"}'
        finally:
            with self._lock:
                self._results.pop(rid, None)


def _overlaid(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return one patch for two; a null stays, since the hub has not seen it yet."""
    found = dict(before)
    for key, value in patch.items():
        known = found.get(key)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            found[key] = _overlaid(known, value)
        else:
            found[key] = value
    return found
