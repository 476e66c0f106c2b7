"""Giving a release to devices of one cluster: what it needs there, and the nodes' labels.

What others own is never taken: everything is applied without force, and a conflict is told. A
release that stands in the cluster already is not written again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgectl.api import ConflictError
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import kinds, publisher
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge._sdk.package import takes_volume
from edgectl_gke_edge._sdk.releases import Packaged
from edgectl_gke_edge.hardware import hardware_of
from edgectl_gke_edge.pod import is_replacing
from edgectl_gke_edge.render import release_documents, shared_documents, trial_pod
from edgectl_gke_edge.seen import Node

Document = dict[str, Any]
KEPT = 1
"""Releases beside those on nodes whose DaemonSets stay: the one to fall back to."""


class Giving:
    """One release on its way into one cluster.

    Args:
        account: The clusters.
        kube: This one's API.
        release: What is given.
    """

    def __init__(self, account: Account, kube: Kube, release: Packaged) -> None:
        self._account = account
        self._kube = kube
        self._release = release
        self._application = release.document.application
        self._number = release.document.number

    def to_nodes(self, nodes: Iterable[Node], default: str | None) -> None:
        """Give the release to nodes.

        Args:
            nodes: Those that do not have it.
            default: The profile of nodes that do not say theirs.
        """
        chosen = {node.name: (node, hardware_of(node, default) or "x86-64-cpu") for node in nodes}
        self._place(sorted({hardware for _, hardware in chosen.values()}))

        def label(name: str) -> None:
            node, hardware = chosen[name]
            self._label(node, hardware)

        self._account.at_once(label, sorted(chosen))

    def to_cluster(self, hardware: str | None) -> None:
        """Give the release to the cluster as a device."""
        self._place([hardware or "x86-64-cpu"])

    def documents(self, hardware: str) -> list[Document]:
        """Return what the release has in this cluster for one kind of hardware."""
        order = self._release.order(
            self._account,
            cluster=self._kube.cluster,
            hardware=hardware,
            with_volume=takes_volume(self._account, self._kube, self._release.document),
        )
        return release_documents(self._account.config, order)

    def _place(self, profiles: list[str]) -> None:
        kind: kinds.Kind = kinds.Deployment
        if self._account.config.workload == "daemonset":
            kind = kinds.DaemonSet
        what = f"look for release {self._number} of '{self._application}'"
        there = self._kube.list(
            what,
            kind,
            self._account.namespace(self._application),
            {names.APPLICATION: names.slug(self._application)},
        )
        marks = {d["metadata"]["name"]: d["metadata"].get("annotations") or {} for d in there}
        wanted = [document for hardware in profiles for document in self.documents(hardware)]
        missing = [
            document
            for document in wanted
            if document["kind"] == kind.__name__
            and marks.get(document["metadata"]["name"], {}).get(names.CONTENT)
            != document["metadata"]["annotations"][names.CONTENT]
        ]
        if not missing:
            return
        if not any(number_of(document) == self._number for document in there):
            self._share()
        for document in wanted:
            if document["kind"] == kind.__name__:
                what = f"start pods of {document['kind']} '{document['metadata']['name']}'"
                self._kube.apply(what, trial_pod(document), dry_run=True)
            self._apply(_with_former(document, there))
        if kind == kinds.DaemonSet:
            self._collect(there)

    def _share(self) -> None:
        key = publisher.trusted(self._account, self._kube, self._application)
        own = "" if key else publisher.own_key(self._account)
        for document in shared_documents(self._account.config, self._application, own):
            self._apply(document)

    def _apply(self, document: Document) -> None:
        kind, name = document["kind"], document["metadata"]["name"]
        self._kube.apply(f"apply {kind} '{name}'", document)

    def _label(self, node: Node, hardware: str) -> None:
        key = names.release_key(self._application, self._number)
        labels: dict[str, str | None] = {key: names.slug(hardware)}
        marks: dict[str, str | None] = {}
        if names.refused_key(self._application) in node.annotations:
            marks[names.refused_key(self._application)] = None
        before = names.releases_on(node.labels, self._application)
        if before and is_replacing(self._account.config, hardware):
            # Two of them cannot run side by side; what was there is noted, to be brought back.
            labels |= {names.release_key(self._application, n): None for n in before}
            last = max(before)
            marks[names.former_key(self._application)] = f"{last}={before[last]}"
        what = f"give release {self._number} to node '{node.name}'"
        metadata: Document = {"labels": labels, **({"annotations": marks} if marks else {})}
        self._account.mark(self._kube, what, node.name, metadata)

    def _collect(self, there: list[Document]) -> None:
        """Remove releases that no node has any more, but for the one to fall back to."""
        what = "look for nodes with older releases"
        older = sorted(
            {number_of(d) for d in there if 0 < number_of(d) < self._number}, reverse=True
        )
        for number in older[KEPT:]:
            key = names.release_key(self._application, number)
            if self._kube.list(what, kinds.Node, labels={key: None}):
                continue
            remove_release(self._account, self._kube, self._application, there, number)


def _with_former(document: Document, there: list[Document]) -> Document:
    """Note in a Deployment which release it had before: that is what it would go back to."""
    if document["kind"] != kinds.Deployment.__name__ or not there:
        return document
    metadata = there[0]["metadata"]
    before = number_of(there[0])
    if before == number_of(document):
        before = int((metadata.get("annotations") or {}).get(names.FORMER, "0"))
    marks = {**document["metadata"]["annotations"], names.FORMER: str(before)}
    return {**document, "metadata": {**document["metadata"], "annotations": marks}}


def remove_release(
    account: Account, kube: Kube, application: str, there: list[Document], number: int
) -> None:
    """Remove a release's DaemonSets and ConfigMaps."""
    namespace = account.namespace(application)
    for document in there:
        name = document["metadata"]["name"]
        if number_of(document) == number and _is_ours(document):
            kube.delete(f"remove DaemonSet '{name}'", kinds.DaemonSet, name, namespace)
            kube.delete(f"remove ConfigMap '{name}'", kinds.ConfigMap, name, namespace)


def check_ours(document: Document) -> None:
    """Check that an object is ours.

    Raises:
        ConflictError: Somebody else made it.
    """
    if not _is_ours(document):
        kind, name = document.get("kind"), document["metadata"]["name"]
        raise ConflictError(
            f"the {kind} '{name}' is there, and edgectl did not make it",
            hint="remove or rename it, or set `namespace` of providers.gke",
        )


def _is_ours(document: Document) -> bool:
    labels = document["metadata"].get("labels") or {}
    return labels.get(names.MANAGED_BY) == names.FIELD_MANAGER


def number_of(document: Document) -> int:
    """Return the release that an object of ours belongs to, 0 for none."""
    text = str((document["metadata"].get("labels") or {}).get(names.RELEASE, ""))
    return int(text) if text.isascii() and text.isdigit() else 0
