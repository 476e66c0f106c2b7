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
from edgectl_gke_edge._sdk import kinds
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.kube import Kube

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


class SharedText:
    """One text of a target.

    Args:
        account: The clusters.
        target: Whose text it is.
        application: The application, or "" for what all applications share.
        key: The text's name.
    """

    def __init__(self, account: Account, target: Target, application: str, key: str) -> None:
        self._account = account
        self._target = target
        self._application = application
        self._key = key
        self._name = (
            f"{names.slug(application) if application else 'fleet'}.{names.slug(target.name)}"
        )
        self._namespace = account.config.namespace or NAMESPACE_NAME

    def read(self) -> str | None:
        """Return the text, None where there is none."""
        return _text(self._get(self._kube()), self._key).value

    def write(self, value: str) -> None:
        """Write the text, whatever stands there."""
        for _ in range(TRIES):
            now = self.read()
            if now == value or self.swap(now, value)[1]:
                return
        raise self._busy()

    def swap(self, expect: str | None, value: str | None) -> tuple[str | None, bool]:
        """Swap the text; return what stands there now, and whether it was this call.

        Raises:
            ConflictError: Other texts of the same object are changed all the time.
        """
        kube, mine = self._kube(), uuid.uuid4().hex
        for _ in range(TRIES):
            there = self._get(kube)
            now = _text(there, self._key)
            if now.write == mine:
                return now.value, True
            if now.value != expect:
                return now.value, False
            if value == expect or self._put(kube, there, value, mine):
                return value, True
        raise self._busy()

    def _kube(self) -> Kube:
        return self._account.kube(place(self._account))

    def _busy(self) -> ConflictError:
        return ConflictError(
            f"'{self._key}' of target '{self._target.name}' is changed by others all the time"
        )

    def _get(self, kube: Kube) -> Document | None:
        what = f"read what operators of target '{self._target.name}' share"
        found = kube.get(what, kinds.ConfigMap, self._name, self._namespace)
        if found is not None:
            labels = (found.get("metadata") or {}).get("labels") or {}
            if labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
                raise ConflictError(
                    f"the ConfigMap '{self._name}' is there, and edgectl did not make it",
                    hint=f"remove or rename it in namespace '{self._namespace}'",
                )
        return found

    def _put(self, kube: Kube, there: Document | None, value: str | None, mark: str) -> bool:
        what = f"write '{self._key}' of target '{self._target.name}'"
        changed = _changed(there or self._document(), self._key, value, mark)
        try:
            if there is None:
                self._create(kube, what, changed)
            else:
                kube.replace(what, changed)
        except ConflictError:
            return False
        return True

    def _create(self, kube: Kube, what: str, document: Document) -> None:
        try:
            kube.create(what, document)
        except NotFoundError:
            if self._account.config.namespace is not None:
                raise
            _create_namespace(kube)
            kube.create(what, document)

    def _document(self) -> Document:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {
                    names.MANAGED_BY: names.FIELD_MANAGER,
                    "app.kubernetes.io/part-of": "edgectl",
                    names.ROLE: names.SHARED_ROLE,
                    names.TARGET: names.slug(self._target.name),
                },
                "annotations": {
                    names.TARGET: self._target.name,
                    names.APPLICATION: self._application,
                },
            },
        }


def _text(document: Document | None, key: str) -> Text:
    if document is None:
        return Text()
    marks = (document.get("metadata") or {}).get("annotations") or {}
    value = (document.get("data") or {}).get(key)
    return Text(value=value, write=str(marks.get(f"{names.PREFIX}/write-{key}", "")))


def _changed(document: Document, key: str, value: str | None, mark: str) -> Document:
    data = {k: v for k, v in (document.get("data") or {}).items() if k != key}
    data |= {} if value is None else {key: value}
    metadata = {k: v for k, v in document["metadata"].items() if k != "managedFields"}
    marks = {**(metadata.get("annotations") or {}), f"{names.PREFIX}/write-{key}": mark}
    return {**document, "metadata": {**metadata, "annotations": marks}, "data": data}


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
        if kube.get("look for the namespace", kinds.Namespace, NAMESPACE_NAME) is None:
            raise ProviderError(f"namespace '{NAMESPACE_NAME}' is being removed") from None
