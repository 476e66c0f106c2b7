"""``preview``: what a deploy would meet in each cluster, found out by applying it without effect.

A server-side dry run asks everything that the real thing would: rights, admission, quotas of
objects, and who owns which field. What cannot be reached is said, and stops nothing.
"""

from __future__ import annotations

from typing import Any

from edgectl.api import (
    ConflictError,
    DeviceSettings,
    NotFoundError,
    PreviewRequest,
    PreviewResult,
    ProjectError,
    ReleaseDocument,
    Target,
    load_project,
)
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import fleet, kinds, publisher
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.images import planned_images
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge._sdk.package import takes_volume
from edgectl_gke_edge._sdk.releases import Packaged, packaged
from edgectl_gke_edge.limits import OLDEST
from edgectl_gke_edge.pod import is_replacing
from edgectl_gke_edge.render import (
    as_files,
    is_restricted,
    release_documents,
    shared_documents,
    trial_pod,
)

Document = dict[str, Any]
UNKNOWN = "sha256:" + "0" * 64


def preview(account: Account, request: PreviewRequest) -> PreviewResult:
    """Apply everything without effect, and say what an operator should know.

    Raises:
        ProviderError: A cluster would refuse it.
    """
    found = fleet.find(account, request.target)
    notes = [
        f"cluster '{name}' cannot be reached"
        + (", and its nodes are not known: they are left out" if name in found.unknown else "")
        for name in sorted(found.lost)
    ]
    profiles = _profiles(found, request.target)
    release = _release(account, request)
    _, clusters = account.of(request.target)
    wanted = [cluster for cluster in clusters if profiles.get(cluster.name)]

    def look(cluster: Cluster, kube: Kube) -> tuple[list[str], dict[str, str]]:
        return _look(account, kube, release, profiles[cluster.name])

    files: dict[str, str] = {}
    for answer in account.each(wanted, look):
        if answer.lost is None:
            told, written = answer.value
            notes += told
            files |= {f"{answer.cluster.name}/{name}": text for name, text in written.items()}
    notes += _common_notes(account, profiles)
    return PreviewResult(notes=tuple(dict.fromkeys(notes)), files=files)


def _profiles(found: fleet.Found, target: Target) -> dict[str, list[str]]:
    """Return the kinds of hardware in each cluster that can be reached."""
    profiles: dict[str, set[str]] = {}
    for member in found.members:
        if not member.lost:
            hardware = member.hardware or target.hardware or "x86-64-cpu"
            profiles.setdefault(member.cluster, set()).add(hardware)
    return {cluster: sorted(known) for cluster, known in profiles.items()}


def _release(account: Account, request: PreviewRequest) -> Packaged:
    """Return the release as it is in the registry, or as it would be: unknown digests are zeros."""
    application, number = request.package.application, request.release
    try:
        return packaged(account, application, number)
    except NotFoundError:
        pass
    document = ReleaseDocument(
        application=application,
        number=number,
        version=request.package.version,
        package=request.package.digest,
        settings=_settings(account, request.target),
    )
    images = planned_images(account, application, number)
    return Packaged(digest=UNKNOWN, document=document, images=images)


def _settings(account: Account, target: Target) -> DeviceSettings:
    try:
        return load_project(account.project_dir).settings_of(target.name)
    except (ProjectError, KeyError):
        return DeviceSettings()


def _look(
    account: Account, kube: Kube, release: Packaged, profiles: list[str]
) -> tuple[list[str], dict[str, str]]:
    application, config = release.document.application, account.config
    version = account.remember(("version", kube.cluster), kube.version)
    notes = []
    if version < OLDEST:
        notes.append(
            f"cluster '{kube.cluster}' has Kubernetes {version[0]}.{version[1]}; edgectl was "
            f"checked from {OLDEST[0]}.{OLDEST[1]} on"
        )
    key = publisher.trusted(account, kube, application)
    documents = shared_documents(config, application, key or publisher.own_key(account))
    for hardware in profiles:
        order = release.order(
            account,
            cluster=kube.cluster,
            hardware=hardware,
            with_volume=takes_volume(account, kube, release.document),
        )
        documents += release_documents(config, order)
    if _namespace_is_there(account, kube, application):
        _dry_run(
            kube, [d for d in documents if d["metadata"]["name"] != names.trust_name(application)]
        )
    return notes, as_files(documents)


def _namespace_is_there(account: Account, kube: Kube, application: str) -> bool:
    """Whether a dry run can be: objects cannot be tried in a namespace that is still to come.

    Raises:
        NotFoundError: The settings name a namespace that is not there.
        ConflictError: Somebody else has a namespace of our name.
    """
    name = account.namespace(application)
    found = kube.get(f"look for namespace '{name}'", kinds.Namespace, name)
    if found is None and account.config.namespace is not None:
        raise NotFoundError(
            f"cluster '{kube.cluster}' has no namespace '{name}'",
            hint="make it, or take `namespace` out of providers.gke: then edgectl makes one",
        )
    if found is not None and account.config.namespace is None:
        labels = found["metadata"].get("labels") or {}
        if labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
            raise ConflictError(
                f"cluster '{kube.cluster}' has a namespace '{name}' that edgectl did not make",
                hint="set `namespace` of providers.gke to use it as it is",
            )
    return found is not None


def _dry_run(kube: Kube, documents: list[Document]) -> None:
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        kube.apply(f"apply {kind} '{name}'", document, dry_run=True)
        if kind in {"DaemonSet", "Deployment"}:
            # After a training the namespace is there, and nothing yet of what releases share.
            trial = trial_pod(document, as_itself=False)
            kube.apply(f"start pods of {kind} '{name}'", trial, dry_run=True)


def _common_notes(account: Account, profiles: dict[str, list[str]]) -> list[str]:
    config, notes = account.config, []
    if not is_restricted(config):
        notes.append(
            "pods mount folders of the node, so the namespace cannot be `restricted`: it has to be "
            "`privileged`"
        )
    replacing = sorted({h for known in profiles.values() for h in known if is_replacing(config, h)})
    if replacing and config.workload == "daemonset":
        notes.append(
            f"{', '.join(replacing)}: the pod before ends before the new one starts, so a node "
            "does not answer meanwhile"
        )
    return notes
