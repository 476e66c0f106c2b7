"""``check``: whether a deploy could start, one finding a question; changes nothing.

Rights are asked for by name (SelfSubjectAccessReview), so the answer names each that is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edgectl.api import (
    CheckRequest,
    CheckResult,
    EdgectlError,
    Finding,
    RegistryError,
    Target,
    artifact_tags,
    image_digest,
)
from edgectl_gke_edge._sdk import fleet
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.clusters import Cluster
from edgectl_gke_edge._sdk.images import runtime_reference
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge._sdk.shared import NAMESPACE_NAME, place
from edgectl_gke_edge.limits import OLDEST, has_image_volumes
from edgectl_gke_edge.rights import RIGHTS, Right

PROBE = "edgectl-doctor"


def check(account: Account, request: CheckRequest) -> CheckResult:
    """Look at clusters, rights, registry, telemetry and the targets."""
    findings = [_found("clusters", lambda: _clusters(account))]
    if findings[0].ok:
        clusters = account.clusters()
        findings += account.at_once(
            lambda cluster: _found(f"cluster {cluster.name}", partial(_cluster, account, cluster)),
            clusters,
        )
        findings.append(_found("coordination", lambda: _coordination(account)))
    findings.append(_found("registry", lambda: _registry(account)))
    findings.append(_telemetry(account))
    if findings[0].ok:
        findings += [
            _found(f"target {target.name}", partial(_target, account, target))
            for target in request.targets
        ]
    return CheckResult(findings=tuple(findings))


def _found(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except EdgectlError as exc:
        return Finding(name=name, ok=False, detail=exc.message, hint=exc.hint)


def _clusters(account: Account) -> Finding:
    clusters = account.clusters()
    if not clusters:
        return Finding(
            name="clusters",
            ok=False,
            detail="there is no cluster",
            hint="check `project`, `locations` and `sources` of providers.gke, or `kubeconfig`",
        )
    listed = ", ".join(cluster.name for cluster in clusters[:10])
    more = f" and {len(clusters) - 10} more" if len(clusters) > 10 else ""
    return Finding(name="clusters", ok=True, detail=listed + more)


def _cluster(account: Account, cluster: Cluster) -> Finding:
    name, kube = f"cluster {cluster.name}", account.kube(cluster)
    version = kube.version()
    said = f"Kubernetes {version[0]}.{version[1]}"
    if version < OLDEST:
        return Finding(
            name=name,
            ok=False,
            detail=f"{said} is older than {OLDEST[0]}.{OLDEST[1]}",
            hint="upgrade the cluster",
        )
    asked = account.at_once(
        partial(_missing, account, kube), _asked(training=bool(account.config.training.image))
    )
    missing = [right for right in asked if right]
    if missing:
        listed = ", ".join(missing)
        return Finding(
            name=name,
            ok=False,
            detail=f"not allowed: {listed}",
            hint="add them to the operator's role; docs/providers/gke.md has the whole role",
        )
    volumes = has_image_volumes(version, by_default=True)
    how = "image volumes" if volumes and account.config.delivery != "init" else "an init container"
    return Finding(name=name, ok=True, detail=f"{said}, packages come by {how}")


def _asked(*, training: bool) -> list[tuple[Right, str]]:
    return [
        (right, verb) for right in RIGHTS if not right.training or training for verb in right.verbs
    ]


def _missing(account: Account, kube: Kube, asked: tuple[Right, str]) -> str:
    """Return a right that we do not have, or ""."""
    right, verb = asked
    if right.resource == "namespaces" and account.config.namespace is not None and verb != "get":
        return ""
    namespace = "" if right.in_cluster else account.namespace(PROBE)
    what = f"ask whether `{verb}` of `{right.resource}` is allowed"
    if kube.may(what, verb, right.group, right.resource, namespace):
        return ""
    return f"{verb} {right.resource}" + (f".{right.group}" if right.group else "")


def _coordination(account: Account) -> Finding:
    cluster = place(account)
    account.kube(cluster).version()
    where = account.config.namespace or NAMESPACE_NAME
    return Finding(
        name="coordination",
        ok=True,
        detail=f"operators share leases in namespace '{where}' of cluster '{cluster.name}'",
    )


def _registry(account: Account) -> Finding:
    registry = account.config.registry
    artifact_tags(f"{registry}/{PROBE}")
    image = runtime_reference(account)
    try:
        digest = image_digest(image) if "@" not in image else image.partition("@")[2]
    except RegistryError as exc:
        return Finding(
            name="registry",
            ok=False,
            detail=f"{registry} answers, but has no runtime image '{image}': {exc.message}",
            hint="push it there, or name another in `runtime.image`; docs/providers/gke.md",
        )
    return Finding(name="registry", ok=True, detail=f"{registry}, runtime {digest[:19]}")


def _telemetry(account: Account) -> Finding:
    collector = account.config.collector
    if not collector.endpoint:
        return Finding(
            name="telemetry",
            ok=True,
            detail="pods tell nothing: `collector.endpoint` is not set",
        )
    kept = f", kept in {collector.files}" if collector.files else ", and is not read back"
    return Finding(name="telemetry", ok=True, detail=f"goes to {collector.endpoint}{kept}")


def _target(account: Account, target: Target) -> Finding:
    found = fleet.find(account, target)
    ready = sum(1 for m in found.members if m.seen is not None and m.seen.is_ready)
    kind = "nodes" if account.config.workload == "daemonset" else "clusters"
    detail = f"{len(found.members)} {kind}"
    if account.config.workload == "daemonset":
        detail += f", {ready} of them ready"
    if found.lost:
        detail += f"; out of reach: {', '.join(sorted(found.lost))}"
    hint = "" if found.members else "label nodes, or `edgectl devices add CLUSTER/NODE`"
    return Finding(name=f"target {target.name}", ok=True, detail=detail, hint=hint)
