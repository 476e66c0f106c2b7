"""What is refused or changed before an object is stored, beyond its own rules."""

from __future__ import annotations

from edgectl_gke_edge.emulator.kube.errors import Cause, Json, Place, StatusError, not_found
from edgectl_gke_edge.emulator.kube.kinds import Kind, kind_of
from edgectl_gke_edge.emulator.kube.requests import Call
from edgectl_gke_edge.emulator.kube.store import Store


def check_namespace(store: Store, kind: Kind, namespace: str, place: Place) -> None:
    """Let objects only into namespaces that are there and stay.

    Raises:
        StatusError: 404 or 403.
    """
    if not kind.namespaced:
        return
    found = store.get(kind_of("", "namespaces"), "", namespace)
    if found is None:
        raise not_found(Place("namespaces", "", namespace))
    if found["metadata"].get("deletionTimestamp"):
        why = (
            f"unable to create new content in namespace {namespace} because it is being terminated"
        )
        cause = Cause(
            "NamespaceTerminating",
            f"namespace {namespace} is being terminated",
            "metadata.namespace",
        )
        message = f'{place.qualified} "{place.name}" is forbidden: {why}'
        details = {"name": place.name, "group": place.group, "kind": place.resource}
        details = {k: v for k, v in details.items() if v}
        raise StatusError(403, "Forbidden", message, {**details, "causes": [cause.to_json()]})


def mutate(store: Store, kind: Kind, obj: Json) -> Json:
    """Change a new object."""
    del store, kind
    return obj


def validate(store: Store, kind: Kind, obj: Json, call: Call, *, old: Json | None) -> None:
    """Refuse an object."""
