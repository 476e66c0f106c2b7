"""The verbs: what create, get, list, update, patch and delete do to stored objects.

One path for all kinds: decode, defaults, admission, validation, ownership, store. What differs
between kinds stands in ``strategy``, ``defaults``, ``validation`` and ``admission``.
"""

from __future__ import annotations

import json
from typing import Any

from edgectl_gke_edge.emulator.kube import (
    admission,
    ownership,
    patches,
    strategy,
    validation,
    warnings,
)
from edgectl_gke_edge.emulator.kube.decoding import decode, parse, strict_error
from edgectl_gke_edge.emulator.kube.defaults import empty_object, with_defaults
from edgectl_gke_edge.emulator.kube.errors import (
    Cause,
    Json,
    Place,
    StatusError,
    already_exists,
    bad_request,
    invalid,
    not_found,
    shown,
    stale,
    unsupported_media,
)
from edgectl_gke_edge.emulator.kube.features import Features
from edgectl_gke_edge.emulator.kube.kinds import Kind, kind_of
from edgectl_gke_edge.emulator.kube.lifecycle import Lifecycle
from edgectl_gke_edge.emulator.kube.requests import Call, Target
from edgectl_gke_edge.emulator.kube.schema import schema_of
from edgectl_gke_edge.emulator.kube.store import Store
from edgectl_gke_edge.emulator.kube.structured import StructureError

BODY_TYPES = ("application/json", "application/yaml")


class Registry:
    """The stored resources of one cluster."""

    def __init__(self, store: Store, lifecycle: Lifecycle, features: Features) -> None:
        self.features = features
        self.store = store
        self.lifecycle = lifecycle

    # Reading

    def get(self, target: Target) -> Json:
        """Return an object.

        Raises:
            StatusError: 404.
        """
        found = self.store.get(target.kind, target.namespace, target.name)
        if found is None:
            raise not_found(target.place)
        return found

    # Writing

    def create(self, target: Target, call: Call, body: bytes, content_type: str) -> Json:
        """Create an object from a body.

        Raises:
            StatusError: 400, 403, 404, 409, 415 or 422.
        """
        obj = self._decode(target, call, body, content_type)
        self._check_names(target, obj)
        if obj.get("metadata", {}).get("resourceVersion"):
            message = "resourceVersion should not be set on objects to be created"
            raise StatusError(500, "", message)
        manager = ownership.Manager(call.manager, "Update", target.kind.api_version)
        return self._create(target, call, obj, manager)

    def _create(self, target: Target, call: Call, obj: Json, manager: ownership.Manager) -> Json:
        kind = target.kind
        obj = strategy.for_create(kind, obj, target.namespace)
        name = obj["metadata"].get("name", "")
        place = Place(kind.plural, kind.group, name)
        admission.check_namespace(self.store, kind, target.namespace, place)
        obj = strategy.encode_secret(with_defaults(kind.kind, obj))
        if manager.operation == "Update":
            obj["metadata"].pop("managedFields", None)
            empty = empty_object(kind.kind)
            owned = _owned_after(empty, obj, kind, manager, _reset(kind, ""))
        else:
            owned = ownership.read_owned(obj["metadata"].pop("managedFields", []))
        obj = admission.mutate(self.store, kind, self.features.without_unserved(kind, obj))
        obj = strategy.finish_create(kind, obj, self._addresses())
        self._validate(kind, obj, None)
        call.warnings += warnings.of_object(kind, obj)
        admission.validate(self.store, kind, obj, call, old=None)
        if self.store.get(kind, target.namespace, name) is not None:
            raise already_exists(place)
        obj = _with_owned(obj, owned, [])
        if call.dry_run:
            return obj
        created = self.store.put(kind, obj)
        self.lifecycle.created(kind, created)
        return created

    def update(self, target: Target, call: Call, body: bytes, content_type: str) -> Json:
        """Replace an object, or its status.

        Raises:
            StatusError: 400, 403, 404, 409, 415 or 422.
        """
        obj = self._decode(target, call, body, content_type)
        self._check_names(target, obj)
        return self._replace(target, call, self.get(target), obj)

    def _replace(self, target: Target, call: Call, live: Json, obj: Json) -> Json:
        """Store what an update or a patch makes of an object."""
        version = obj.get("metadata", {}).get("resourceVersion", "")
        if version and version != live["metadata"]["resourceVersion"]:
            raise stale(target.place)
        uid = obj.get("metadata", {}).get("uid", "")
        if uid and uid != live["metadata"]["uid"]:
            raise _other_uid(target.place, uid, live["metadata"]["uid"])
        manager = ownership.Manager(
            call.manager, "Update", target.kind.api_version, target.subresource
        )
        stated = obj.get("metadata", {}).get("managedFields")
        obj = self._prepare(target, call, live, obj)
        before = live["metadata"].get("managedFields", [])
        if stated is not None and len(stated) <= 1 and not any(stated):
            live = {**live, "metadata": {**live["metadata"], "managedFields": []}}
        reset = _reset(target.kind, target.subresource)
        owned = _owned_after(live, obj, target.kind, manager, reset)
        return self._store(target, call, live, _with_owned(obj, owned, before))

    def _prepare(self, target: Target, call: Call, live: Json, obj: Json) -> Json:
        """Default, admit and validate a changed object."""
        kind = target.kind
        obj = self.features.without_unserved(kind, with_defaults(kind.kind, obj))
        make = strategy.for_status if target.subresource == "status" else strategy.for_update
        obj = make(kind, live, obj)
        self._validate(kind, obj, live)
        if target.subresource != "status":
            call.warnings += warnings.of_object(kind, obj)
            admission.validate(self.store, kind, obj, call, old=live)
        return obj

    def _store(self, target: Target, call: Call, live: Json, obj: Json) -> Json:
        if _same(live, obj):
            return live
        if call.dry_run:
            version = live["metadata"]["resourceVersion"]
            return {**obj, "metadata": {**obj["metadata"], "resourceVersion": version}}
        stored = self.store.put(target.kind, obj)
        return self.lifecycle.updated(target.kind, stored)

    def patch(
        self, target: Target, call: Call, body: bytes, content_type: str
    ) -> tuple[Json, bool]:
        """Patch an object; return it, and whether an apply created it.

        Raises:
            StatusError: 400, 403, 404, 409, 415 or 422.
        """
        patch_type = content_type.split(";", maxsplit=1)[0].strip()
        if patch_type == patches.APPLY:
            return self._apply(target, call, body)
        if patch_type not in patches.TYPES:
            raise unsupported_media(patches.TYPES)
        if call.force:
            raise bad_request(
                'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not '
                "be specified for non-apply patch"
            )
        live = self.get(target)
        patch, complaints = parse(body, "application/json")
        patched = _patched(patch_type, live, patch, target.kind)
        try:
            obj = self._decoded(target, call, patched, complaints)
        except StatusError as exc:
            raise _bad_patch(patched, exc) from exc
        self._check_names(target, obj)
        return self._replace(target, call, live, obj), False

    def _apply(self, target: Target, call: Call, body: bytes) -> tuple[Json, bool]:
        if not call.manager_stated:
            told = "is required for apply patch"
            cause = Cause("FieldValueRequired", f"Required value: {told}", "fieldManager")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        value, complaints = parse(body, "application/yaml")
        if not isinstance(value, dict):
            raise bad_request("error decoding YAML: the applied object is no object")
        kind = target.kind
        if not value.get("apiVersion") or not value.get("kind"):
            raise bad_request("invalid object type: /, Kind=")
        unknown = decode(value, schema_of(kind), kind.kind, kind.api_version)[1]
        if unknown:
            path = unknown[0].removeprefix('unknown field "').removesuffix('"')
            raise StatusError(
                500,
                "",
                f"failed to create typed patch object ({target.namespace}/{target.name}; "
                f"{kind.api_version}, Kind={kind.kind}): .{path}: field not declared in schema",
            )
        obj = self._decoded(target, call, value, complaints)
        self._check_names(target, obj)
        if obj.get("metadata", {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        return self._apply_object(target, call, obj)

    def _apply_object(self, target: Target, call: Call, obj: Json) -> tuple[Json, bool]:
        kind = target.kind
        live = self.store.get(kind, target.namespace, target.name)
        version = obj.get("metadata", {}).get("resourceVersion", "")
        if version and version != (live or {"metadata": {}})["metadata"].get("resourceVersion"):
            raise stale(target.place) if live else not_found(target.place)
        if live is None and target.subresource:
            raise not_found(target.place)
        manager = ownership.Manager(call.manager, "Apply", kind.api_version, target.subresource)
        base = live or {"metadata": {}}
        try:
            merged, owned = ownership.after_apply(
                base,
                obj,
                schema_of(kind),
                manager,
                reset=_reset(kind, target.subresource),
                force=call.force,
            )
        except StructureError as exc:
            message = (
                f"failed to create typed patch object ({target.namespace}/{target.name}; "
                f"{kind.api_version}, Kind={kind.kind}): {exc}"
            )
            raise StatusError(500, "", message) from exc
        if live is None:
            entries = ownership.write_owned(owned, [], strategy.now())
            merged = {**merged, "metadata": {**merged["metadata"], "managedFields": entries}}
            merged["metadata"].setdefault("name", target.name)
            return self._create(target, call, merged, manager), True
        before = live["metadata"].get("managedFields", [])
        merged = self._prepare(target, call, live, merged)
        return self._store(target, call, live, _with_owned(merged, owned, before)), False

    # Parts

    def _decode(self, target: Target, call: Call, body: bytes, content_type: str) -> Json:
        body_type = content_type.split(";", maxsplit=1)[0].strip()
        if body_type and body_type not in BODY_TYPES:
            raise unsupported_media(BODY_TYPES)
        value, complaints = parse(body, body_type)
        return self._decoded(target, call, value, complaints)

    def _decoded(self, target: Target, call: Call, value: Any, complaints: list[str]) -> Json:
        kind = target.kind
        found = (value.get("apiVersion"), value.get("kind")) if isinstance(value, dict) else ()
        wanted = (kind.api_version, kind.kind)
        if found and any(f and f != w for f, w in zip(found, wanted, strict=True)):
            raise _other_kind(kind, *found)
        obj, unknown = decode(value, schema_of(kind), kind.kind, kind.api_version)
        complaints = unknown + complaints
        if complaints and call.validation == "Strict":
            raise strict_error(kind.kind, kind.api_version, complaints)
        if call.validation == "Warn":
            call.warnings += complaints
        return obj

    @staticmethod
    def _check_names(target: Target, obj: Json) -> None:
        metadata = obj.setdefault("metadata", {})
        name, namespace = metadata.get("name", ""), metadata.get("namespace", "")
        if target.name and name and name != target.name:
            raise bad_request(
                f"the name of the object ({name}) does not match the name on the URL "
                f"({target.name})"
            )
        if namespace and namespace != target.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        if target.name and not name:
            metadata["name"] = target.name

    @staticmethod
    def _validate(kind: Kind, obj: Json, old: Json | None) -> None:
        causes = validation.check(kind, obj, old)
        if causes:
            name = obj["metadata"].get("name", "")
            raise invalid(kind.kind, kind.group, name, causes)

    def _addresses(self) -> list[str]:
        services = self.store.objects(kind_of("", "services"))
        return [str(obj.get("spec", {}).get("clusterIP", "")) for obj in services]


def _patched(patch_type: str, live: Json, patch: Any, kind: Kind) -> Any:
    if patch_type == patches.JSON_PATCH:
        return patches.json_patch(live, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a patch of this type is an object")
    if patch_type == patches.MERGE_PATCH:
        return patches.merge_patch(live, patch)
    return patches.strategic(live, patch, schema_of(kind))


def _reset(kind: Kind, subresource: str) -> str:
    if subresource == "status":
        return "spec"
    return "status" if "status" in kind.subresources else ""


def _with_owned(obj: Json, owned: ownership.Owned, before: list[Json]) -> Json:
    entries = ownership.write_owned(owned, before, strategy.now())
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    return {**obj, "metadata": {**metadata, "managedFields": entries} if entries else metadata}


def _owned_after(
    old: Json, new: Json, kind: Kind, manager: ownership.Manager, reset: str
) -> ownership.Owned:
    """Return who owns what after an update; what validation will refuse anyway has no owners."""
    try:
        return ownership.after_update(old, new, schema_of(kind), manager, reset)
    except StructureError:
        return {}


def _same(old: Json, new: Json) -> bool:
    """Say whether nothing changed but times of ownership."""

    def content(obj: Json) -> Json:
        metadata = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
        entries = metadata.get("managedFields", [])
        metadata["managedFields"] = [{**entry, "time": ""} for entry in entries]
        return {**obj, "metadata": metadata}

    return content(old) == content(new)


def _other_uid(place: Place, found: str, stored: str) -> StatusError:
    message = (
        f'Operation cannot be fulfilled on {place.qualified} "{place.name}": Precondition failed: '
        f"UID in precondition: {found}, UID in object meta: {stored}"
    )
    return StatusError(409, "Conflict", message, {"name": place.name, "kind": place.resource})


def _other_kind(kind: Kind, api_version: str | None, name: str | None) -> StatusError:
    """Refuse an object of another kind than the path's."""
    version = (api_version or kind.api_version).rpartition("/")[2]
    name = name or kind.kind
    return bad_request(
        f'{name} in version "{version}" cannot be handled as a {kind.kind}: converting '
        f"({version}.{name}) to ({kind.group or 'core'}.{kind.kind}): unknown conversion"
    )


def _bad_patch(patched: Any, error: StatusError) -> StatusError:
    """Refuse a patch whose result cannot be decoded."""
    if error.code != 400:
        return error
    told = error.message.split("cannot be handled as a ", 1)[-1].partition(": ")[2]
    value = shown(json.dumps(patched, separators=(",", ":")))
    cause = Cause("FieldValueInvalid", f"Invalid value: {value}: {told}", "patch")
    return invalid("", "", "", [cause])
