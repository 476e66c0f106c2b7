"""Texts that all operators of a target share: a ConfigMap in the coordination cluster.

It has to be the same place for everybody, so it is the cluster that the settings name, or the
first by name. A text is swapped by the object's resource version. Each write carries a number of
its own, so that a writer whose answer got lost knows its own write again.
"""

from __future__ import annotations

import uuid
from typing import Any

from edgectl.api import ConflictError, NotFoundError, ProviderError, Record, Target
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.kube import CONFIG_MAP, NAMESPACE, Kube

NAMESPACE_NAME = "edgectl"
TRIES = 10
MAX_TEXT = 512 << 10
"""A ConfigMap holds 1 MiB."""

Document = dict[str, Any]


class Text(Record, frozen=True, kw_only=True):
    """What stands there.

    Attributes:
        write: The number of the write that put it there, or "".
    """

    value: str | None = None
    write: str = ""


def place(account: Account) -> Cluster:
    """Return the coordination cluster.

    Raises:
        NotFoundError: There is none.
    """
    name = account.config.coordination_cluster
    clusters = account.clusters()
    if name is not None:
        found = account.cluster(name)
        if found is None:
            raise NotFoundError(
                f"there is no cluster '{name}'",
                hint="correct `coordination_cluster` of providers.gke",
            )
        return found
    if not clusters:
        raise NotFoundError(
            "there is no cluster",
            hint="check `project`, `locations` and `sources` of providers.gke, or `kubeconfig`",
        )
    return clusters[0]


def read(account: Account, target: Target, application: str, key: str) -> str | None:
    """Return a text, None where there is none."""
    kube = account.kube(place(account))
    return _text(_get(account, kube, target, application), key).value


def write(account: Account, target: Target, application: str, key: str, value: str) -> None:
    """Write a text, whatever stands there."""
    for _ in range(TRIES):
        now = read(account, target, application, key)
        if now == value or swap(account, target, application, key, now, value)[1]:
            return
    raise ConflictError(f"'{key}' of target '{target.name}' is changed by others all the time")


def swap(
    account: Account,
    target: Target,
    application: str,
    key: str,
    expect: str | None,
    value: str | None,
) -> tuple[str | None, bool]:
    """Swap a text; return what stands there now, and whether it was this call.

    Raises:
        ConflictError: Other texts of the same object are changed all the time.
    """
    kube = account.kube(place(account))
    mine = uuid.uuid4().hex
    for _ in range(TRIES):
        there = _get(account, kube, target, application)
        now = _text(there, key)
        if now.write == mine:
            return now.value, True
        if now.value != expect:
            return now.value, False
        if value == expect:
            return value, True
        if _put(account, kube, target, application, there, key, value, mine):
            return value, True
    raise ConflictError(f"'{key}' of target '{target.name}' is changed by others all the time")


def _get(account: Account, kube: Kube, target: Target, application: str) -> Document | None:
    what = f"read what operators of target '{target.name}' share"
    name = _name(target, application)
    found = kube.get(what, CONFIG_MAP, name, _namespace(account))
    if found is not None:
        labels = (found.get("metadata") or {}).get("labels") or {}
        if labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
            raise ConflictError(
                f"the ConfigMap '{name}' is there, and edgectl did not make it",
                hint=f"remove or rename it in namespace '{_namespace(account)}'",
            )
    return found


def _text(document: Document | None, key: str) -> Text:
    if document is None:
        return Text()
    marks = (document.get("metadata") or {}).get("annotations") or {}
    value = (document.get("data") or {}).get(key)
    return Text(value=value, write=str(marks.get(f"{names.PREFIX}/write-{key}", "")))


def _put(
    account: Account,
    kube: Kube,
    target: Target,
    application: str,
    there: Document | None,
    key: str,
    value: str | None,
    mark: str,
) -> bool:
    what = f"write '{key}' of target '{target.name}'"
    document = there or _document(account, target, application)
    data = {k: v for k, v in (document.get("data") or {}).items() if k != key}
    metadata = dict(document["metadata"])
    metadata.pop("managedFields", None)
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        f"{names.PREFIX}/write-{key}": mark,
    }
    data |= {} if value is None else {key: value}
    changed = {**document, "metadata": metadata, "data": data}
    try:
        if there is None:
            _create(account, kube, what, changed)
        else:
            kube.replace(what, changed)
    except ConflictError:
        return False
    return True


def _create(account: Account, kube: Kube, what: str, document: Document) -> None:
    try:
        kube.create(what, document)
    except NotFoundError:
        if account.config.namespace is not None:
            raise
        _create_namespace(kube)
        kube.create(what, document)


def _create_namespace(kube: Kube) -> None:
    labels = {names.MANAGED_BY: names.FIELD_MANAGER, "app.kubernetes.io/part-of": "edgectl"}
    document = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE_NAME, "labels": labels},
    }
    try:
        kube.create(f"make namespace '{NAMESPACE_NAME}'", document)
    except ConflictError:
        if kube.get("look for the namespace", NAMESPACE, NAMESPACE_NAME) is None:
            raise ProviderError(f"namespace '{NAMESPACE_NAME}' is being removed") from None


def _document(account: Account, target: Target, application: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": _name(target, application),
            "namespace": _namespace(account),
            "labels": {
                names.MANAGED_BY: names.FIELD_MANAGER,
                "app.kubernetes.io/part-of": "edgectl",
                names.ROLE: names.SHARED_ROLE,
                names.TARGET: names.slug(target.name),
            },
            "annotations": {names.TARGET: target.name, names.APPLICATION: application},
        },
    }


def _name(target: Target, application: str) -> str:
    first = names.slug(application) if application else "fleet"
    return f"{first}.{names.slug(target.name)}"


def _namespace(account: Account) -> str:
    return account.config.namespace or NAMESPACE_NAME
