"""Versioned assets of a workspace: codes, environments, data, models. They never change.

Tags, description, stage and "archived" may be changed; where an asset lies may not, and properties
may only be added. Sources: Azure Machine Learning REST reference, "Model Versions" and its
siblings; the words for a changed path are those that azure-ai-ml waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from edgectl_azure_iot_edge.emulator.ml.errors import MlError, not_found
from edgectl_azure_iot_edge.emulator.ml.naming import Scope, check_name, check_version, moment

Document = dict[str, Any]
KINDS = ("codes", "environments", "data", "models")
_PLACES = {
    "codes": ("codeUri",),
    "environments": ("image", "condaFile", "build"),
    "data": ("dataUri", "dataType"),
    "models": ("modelUri", "modelType"),
}
_KNOWN = {
    "codes": {"codeUri"},
    "environments": {
        "image",
        "condaFile",
        "build",
        "osType",
        "inferenceConfig",
        "autoRebuild",
        "stage",
    },
    "data": {"dataUri", "dataType", "referencedUris", "autoDeleteSetting", "stage"},
    "models": {"modelUri", "modelType", "flavors", "jobName", "stage", "datasets"},
}
_COMMON = {"description", "tags", "properties", "isAnonymous", "isArchived", "systemMetadata"}


class Version(msgspec.Struct):
    """A version of an asset."""

    name: str
    version: str
    created: datetime
    changed: datetime
    by: str
    properties: Document


class Assets:
    """All assets of one kind.

    Args:
        kind: One of ``KINDS``.
        file: Keeps them across restarts.
        scope: The workspace.
        now: The account's time.
        check: Looks at an asset's properties before it is kept, and may add to them.
    """

    def __init__(
        self,
        kind: str,
        file: Path,
        *,
        scope: Scope,
        now: Callable[[], datetime],
        check: Callable[[Document], None],
    ) -> None:
        self.kind = kind
        self._file = file
        self._scope = scope
        self._now = now
        self._check = check
        self._lock = threading.RLock()
        self._versions: dict[tuple[str, str], Version] = {}
        if file.exists():
            for one in msgspec.json.decode(file.read_bytes(), type=list[Version]):
                self._versions[one.name, one.version] = one

    def put(self, name: str, version: str, body: Document, by: str) -> tuple[Document, bool]:
        """Register a version, or change what may be changed of it.

        Returns:
            The version, and whether it is new.

        Raises:
            MlError: It is malformed, or would change what never changes.
        """
        check_name(name, self.kind.rstrip("s"))
        check_version(version)
        given = self._given(body)
        with self._lock:
            known = self._versions.get((name, version))
            if known is None:
                self._check(given)
                now = self._now()
                made = Version(name, version, now, now, by, given)
                self._versions[name, version] = made
            else:
                made = known
                self._change(known, given)
                known.changed = self._now()
            self._save()
            return self._document(made), known is None

    def get(self, name: str, version: str) -> Document:
        """Return a version.

        Raises:
            MlError: ``UserError`` with status 404.
        """
        with self._lock:
            found = self._versions.get((name, version))
            if found is None:
                raise not_found(f"{self.kind.rstrip('s')} asset '{name}' version '{version}'")
            return self._document(found)

    def versions(self, name: str) -> list[Document]:
        """Return an asset's versions, newest first.

        Raises:
            MlError: ``UserError`` with status 404.
        """
        with self._lock:
            found = [one for one in self._versions.values() if one.name == name]
            if not found:
                raise not_found(f"{self.kind.rstrip('s')} asset container '{name}'")
            found.sort(key=lambda one: one.created, reverse=True)
            return [self._document(one) for one in found]

    def all(self) -> list[Document]:
        """Return every version of every asset, newest first."""
        with self._lock:
            found = sorted(self._versions.values(), key=lambda one: one.created, reverse=True)
            return [self._document(one) for one in found]

    def containers(self) -> list[Document]:
        """Return all assets, by name."""
        with self._lock:
            names = sorted({name for name, _ in self._versions})
            return [self.container(name) for name in names]

    def container(self, name: str) -> Document:
        """Return an asset with its latest and next version.

        Raises:
            MlError: ``UserError`` with status 404.
        """
        with self._lock:
            self.versions(name)
            ordered = sorted(
                (one for one in self._versions.values() if one.name == name),
                key=lambda one: one.created,
            )
            numbers = [int(one.version) for one in ordered if one.version.isdecimal()]
            return {
                "id": f"{self._scope.id}/{self.kind}/{name}",
                "name": name,
                "type": f"Microsoft.MachineLearningServices/workspaces/{self.kind}",
                "properties": {
                    "description": None,
                    "tags": {},
                    "properties": {},
                    "isArchived": False,
                    "latestVersion": ordered[-1].version,
                    "nextVersion": str(max(numbers, default=0) + 1),
                },
                "systemData": _system(ordered[0]),
            }

    def _given(self, body: Document) -> Document:
        properties = body.get("properties")
        if not isinstance(properties, dict) or set(body) - {"properties", "name", "id", "type"}:
            raise MlError("InvalidRequestContent", "The request content was invalid: properties.")
        unknown = set(properties) - _COMMON - _KNOWN[self.kind]
        if unknown:
            said = f"Could not find member '{min(unknown)}' on {self.kind} version."
            raise MlError("ValidationError", said)
        given = {name: value for name, value in properties.items() if value is not None}
        for name in ("tags", "properties"):
            given[name] = _texts(name, given.get(name, {}))
        return given

    def _change(self, known: Version, given: Document) -> None:
        for place in _PLACES[self.kind]:
            if place in given and given[place] != known.properties.get(place):
                raise MlError("UserError", "Asset paths cannot be updated.")
        kept = known.properties["properties"]
        for name, value in given["properties"].items():
            if kept.get(name, value) != value:
                said = f"The property '{name}' is there and cannot be updated."
                raise MlError("UserError", said)
        known.properties |= {
            **given,
            "properties": {**kept, **given["properties"]},
        }

    def _document(self, one: Version) -> Document:
        place = f"{self._scope.id}/{self.kind}/{one.name}/versions/{one.version}"
        properties = {
            "description": None,
            "isAnonymous": False,
            "isArchived": False,
            **one.properties,
            "provisioningState": "Succeeded",
        }
        if self.kind == "models":
            properties = {"flavors": {}, "jobName": None, "stage": None, **properties}
        return {
            "id": place,
            "name": one.version,
            "type": f"Microsoft.MachineLearningServices/workspaces/{self.kind}/versions",
            "properties": properties,
            "systemData": _system(one),
        }

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        aside = self._file.with_suffix(".new")
        aside.write_bytes(msgspec.json.encode(list(self._versions.values())))
        aside.replace(self._file)


def _texts(name: str, values: Any) -> dict[str, str]:
    """Return a map of texts; numbers become texts, as the service does it."""
    plain = isinstance(values, dict) and all(
        isinstance(value, str | int | float) for value in values.values()
    )
    if not plain:
        raise MlError("ValidationError", f"The field '{name}' has to map texts to texts.")
    return {str(key): str(value) for key, value in values.items()}


def _system(one: Version) -> Document:
    return {
        "createdAt": moment(one.created),
        "createdBy": one.by,
        "createdByType": "Application",
        "lastModifiedAt": moment(one.changed),
        "lastModifiedBy": one.by,
        "lastModifiedByType": "Application",
    }
