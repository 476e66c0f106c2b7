"""Everything that stands in a cluster for an application, as Kubernetes documents; pure.

What all releases share (namespace, service account, network policy, service) comes once; each
release has a ConfigMap and a workload of its own for every kind of hardware, so that two releases
can stand on a node side by side. The documents are complete: they can be applied as they are, or
be committed to Git.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import yaml

from edgectl.api import (
    DeviceConfig,
    DeviceSection,
    RuntimeSection,
    TelemetrySection,
    TrustSection,
    canonical_json,
    sha256_digest,
)
from edgectl_gke_edge import names
from edgectl_gke_edge.config import GkeConfig
from edgectl_gke_edge.pod import (
    DEVICE_FILE,
    PUBLISHER_FILE,
    STATE_DIR,
    TRUST_DIR,
    Document,
    PodOrder,
    is_replacing,
    pod_template,
)

DNS_PORT = 53
PROGRESS_MIN_S = 60
KEPT_REVISIONS = 3
POD_SECURITY = "pod-security.kubernetes.io"


def shared_documents(config: GkeConfig, application: str, publisher: str) -> list[Document]:
    """Return what all releases of an application share, in the order to apply it.

    A namespace that the settings name is the team's: it has to be there, and is not touched.

    Args:
        config: The provider's settings.
        application: The application's name.
        publisher: The public key (PEM) that pods trust; "" leaves out the ConfigMap with it,
            because the cluster has one that is not to be changed.
    """
    documents = [_service_account(config, application)]
    if config.namespace is None:
        documents.insert(0, namespace(config, application))
    if publisher and config.publisher_key_path is None:
        documents.append(trust(config, application, publisher))
    documents += [_network_policy(config, application), _service(config, application)]
    if config.workload == "deployment":
        documents.append(_disruption_budget(config, application))
    return documents


def release_documents(config: GkeConfig, order: PodOrder) -> list[Document]:
    """Return what one release has for one kind of hardware, in the order to apply it."""
    documents = [_config_map(config, order), _workload(config, order)]
    for document in documents:
        document["metadata"]["annotations"][names.CONTENT] = content_digest(document)
    return documents


def trial_pod(workload: Document, *, as_itself: bool = True) -> Document:
    """Return a workload's pod by itself, to ask the cluster whether it would be let in.

    Pod security and quotas judge pods: a workload is let in whose pods never will be.

    Args:
        workload: What makes the pods.
        as_itself: Whether the pod asks as its own service account, which has to be there already;
            else as its namespace's own.
    """
    metadata, template = workload["metadata"], workload["spec"]["template"]
    spec = template["spec"]
    if not as_itself:
        spec = {key: value for key, value in spec.items() if key != "serviceAccountName"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-trial",
            "namespace": metadata["namespace"],
            "labels": template["metadata"]["labels"],
        },
        "spec": spec,
    }


def content_digest(document: Document) -> str:
    """Return a short digest of a document, without the annotation that will hold it."""
    metadata = document["metadata"]
    kept = {k: v for k, v in metadata.get("annotations", {}).items() if k != names.CONTENT}
    plain = {**document, "metadata": {**metadata, "annotations": kept}}
    return sha256_digest(canonical_json(plain)).removeprefix("sha256:")[:32]


def is_restricted(config: GkeConfig) -> bool:
    """Whether pods keep to the ``restricted`` standard: none of them mounts a node's folder."""
    return not (config.node_cache or config.publisher_key_path or config.runtime.host_paths)


def namespace(config: GkeConfig, application: str) -> Document:
    """Return the namespace, which says what its pods may do."""
    level = "restricted" if is_restricted(config) else "privileged"
    name = names.namespace_of(application, config.namespace)
    security = {f"{POD_SECURITY}/enforce": level, f"{POD_SECURITY}/warn": "restricted"}
    metadata = _metadata("", name, application, names.SHARED_ROLE)
    metadata["labels"] |= security
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def trust(config: GkeConfig, application: str, publisher: str) -> Document:
    """Return the ConfigMap with the public key that pods trust."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _shared(config, application, names.trust_name(application)),
        "data": {PUBLISHER_FILE: publisher},
    }


def device_config(config: GkeConfig, order: PodOrder) -> DeviceConfig:
    """Return the configuration that all pods of a release and hardware share."""
    collector = config.collector.endpoint
    return DeviceConfig(
        device=DeviceSection(
            id=order.cluster,
            application=order.application,
            hardware=order.hardware,
            state_dir=STATE_DIR,
        ),
        trust=TrustSection(publishers=(f"{TRUST_DIR}/{PUBLISHER_FILE}",)),
        runtime=RuntimeSection(port=config.runtime.port),
        telemetry=TelemetrySection(url=collector),
    )


def as_files(documents: list[Document]) -> dict[str, str]:
    """Return documents as plain YAML files, and a ``kustomization.yaml`` that lists them."""
    files = {
        f"{number:02d}-{document['kind'].lower()}-{document['metadata']['name']}.yaml": to_yaml(
            document
        )
        for number, document in enumerate(documents)
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(files),
    }
    return {**files, "kustomization.yaml": to_yaml(kustomization)}


def to_yaml(document: Document) -> str:
    """Return a document as YAML, in the order in which it was made."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, which people can read and compare."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _metadata(namespace_name: str, name: str, application: str, role: str) -> Document:
    where = {"namespace": namespace_name} if namespace_name else {}
    return {
        "name": name,
        **where,
        "labels": names.own_labels(application, role),
        "annotations": {names.APPLICATION: application},
    }


def _shared(config: GkeConfig, application: str, name: str = "") -> Document:
    where = names.namespace_of(application, config.namespace)
    return _metadata(where, name or names.slug(application), application, names.SHARED_ROLE)


def _service_account(config: GkeConfig, application: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _shared(config, application),
        "automountServiceAccountToken": False,
    }


def _network_policy(config: GkeConfig, application: str) -> Document:
    dns = [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]
    egress: list[Document] = [{"ports": dns}]
    ports = sorted({_registry_port(config), *_collector_port(config), *config.runtime.egress_ports})
    egress.append({"ports": [{"protocol": "TCP", "port": port} for port in ports]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _shared(config, application),
        "spec": {
            "podSelector": {"matchLabels": _pods(application)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": config.runtime.port}]}],
            "egress": egress,
        },
    }


def _registry_port(config: GkeConfig) -> int:
    parts = urlsplit(f"https://{config.registry}")
    return parts.port or 443


def _collector_port(config: GkeConfig) -> set[int]:
    if not config.collector.endpoint:
        return set()
    parts = urlsplit(config.collector.endpoint)
    return {parts.port or (443 if parts.scheme == "https" else 80)}


def _pods(application: str) -> dict[str, str]:
    return {names.APPLICATION: names.slug(application), names.ROLE: names.RUNTIME_ROLE}


def _service(config: GkeConfig, application: str) -> Document:
    spec: Document = {
        "selector": _pods(application),
        "ports": [
            {"name": "http", "port": config.runtime.port, "targetPort": "http", "protocol": "TCP"}
        ],
    }
    if config.workload == "daemonset":
        # A device answers for itself: who asks on a node is answered by that node's pod.
        spec["internalTrafficPolicy"] = "Local"
    metadata = _shared(config, application)
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _disruption_budget(config: GkeConfig, application: str) -> Document:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _shared(config, application),
        "spec": {"minAvailable": 1, "selector": {"matchLabels": _pods(application)}},
    }


def _config_map(config: GkeConfig, order: PodOrder) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _released(config, order, order.name),
        "immutable": True,
        "data": {DEVICE_FILE: device_config(config, order).to_toml()},
    }


def _released(config: GkeConfig, order: PodOrder, name: str) -> Document:
    where = names.namespace_of(order.application, config.namespace)
    return {
        "name": name,
        "namespace": where,
        "labels": order.labels(),
        "annotations": order.annotations(),
    }


def _workload(config: GkeConfig, order: PodOrder) -> Document:
    if config.workload == "deployment":
        return _deployment(config, order)
    selector = {**_pods(order.application), names.RELEASE: str(order.release)}
    selector[names.HARDWARE] = names.slug(order.hardware)
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": _released(config, order, order.name),
        "spec": {
            "selector": {"matchLabels": selector},
            "revisionHistoryLimit": 1,
            # A release never changes, and a node may try it for itself as soon as it has it.
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "100%"},
            },
            "template": pod_template(config, order, per_node=True),
        },
    }


def _deployment(config: GkeConfig, order: PodOrder) -> Document:
    overlap = not is_replacing(config, order.hardware)
    rolling: dict[str, Any] = {
        "maxUnavailable": 0 if overlap else 1,
        "maxSurge": 1 if overlap else 0,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _released(config, order, names.slug(order.application)),
        "spec": {
            "replicas": config.replicas,
            "selector": {"matchLabels": _pods(order.application)},
            "minReadySeconds": round(order.soak_s),
            "progressDeadlineSeconds": max(
                round(config.progress_deadline_s), round(order.soak_s) + PROGRESS_MIN_S
            ),
            "revisionHistoryLimit": KEPT_REVISIONS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": pod_template(config, order, per_node=False),
        },
    }
