"""Rules of services, policies, configuration, budgets, quotas and roles."""

from __future__ import annotations

import ipaddress
from typing import Any

from edgectl_gke_edge.emulator.kube.decoding import valid_base64
from edgectl_gke_edge.emulator.kube.errors import Cause, Json, Problems
from edgectl_gke_edge.emulator.kube.validation import containers, names, workloads

MAX_DATA = 1024 * 1024
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_LEVELS = ("privileged", "baseline", "restricted")
_SUBJECTS = ("Group", "ServiceAccount", "User")
_MODES = ("enforce", "audit", "warn")


def check_namespace(obj: Json, problems: Problems) -> None:
    """Check a namespace's pod security labels."""
    labels = obj["metadata"].get("labels", {})
    for mode in _MODES:
        key = f"pod-security.kubernetes.io/{mode}"
        if key in labels and labels[key] not in _LEVELS:
            told = f"must be one of {', '.join(_LEVELS)}"
            problems.invalid(f"metadata.labels[{key}]", labels[key], told)


def check_config(obj: Json, problems: Problems) -> None:
    """Check a ConfigMap's or Secret's keys and size."""
    secret = obj.get("kind") == "Secret"
    size = 0
    for field in ("data", "binaryData"):
        for key, value in sorted(obj.get(field, {}).items()):
            names.config_key(key, f"{field}[{key}]", problems)
            size += len(value.encode())
            if (secret or field == "binaryData") and not valid_base64(value):
                problems.invalid(f"{field}[{key}]", "<secret contents redacted>", "must be base64")
    if size > MAX_DATA * (4 / 3 if secret else 1):
        told = f"Too long: may not be more than {MAX_DATA} bytes"
        problems.causes.append(Cause("FieldValueTooLong", told, "data" if secret else ""))


def check_service(obj: Json, problems: Problems) -> None:
    """Check a service."""
    spec = obj.get("spec", {})
    if spec.get("type") not in _SERVICE_TYPES:
        problems.unsupported("spec.type", spec.get("type"), _SERVICE_TYPES)
    headless = spec.get("clusterIP") == "None"
    if not spec.get("ports") and not headless and spec.get("type") != "ExternalName":
        problems.required("spec.ports")
    _service_ports(spec.get("ports", []), problems)
    names.labels(spec.get("selector"), "spec.selector", problems)
    policy = spec.get("internalTrafficPolicy", "Cluster")
    if policy not in {"Cluster", "Local"}:
        problems.unsupported("spec.internalTrafficPolicy", policy, ("Cluster", "Local"))
    if spec.get("sessionAffinity") not in {"ClientIP", "None"}:
        found = spec.get("sessionAffinity")
        problems.unsupported("spec.sessionAffinity", found, ("ClientIP", "None"))


def _service_ports(ports: list[Json], problems: Problems) -> None:
    seen: set[tuple[Any, Any]] = set()
    used: set[str] = set()
    for at, port in enumerate(ports):
        where = f"spec.ports[{at}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            problems.required(f"{where}.name")
        elif name:
            names.label(name, f"{where}.name", problems)
            if name in used:
                problems.duplicate(f"{where}.name", name)
            used.add(name)
        containers.port_number(port.get("port", 0), f"{where}.port", problems)
        if port.get("protocol") not in _PROTOCOLS:
            problems.unsupported(f"{where}.protocol", port.get("protocol"), _PROTOCOLS)
        containers.int_or_name(port.get("targetPort", 0), f"{where}.targetPort", problems)
        key = (port.get("port"), port.get("protocol"))
        if key in seen:
            problems.duplicate(where, port)
        seen.add(key)


def check_policy(obj: Json, problems: Problems) -> None:
    """Check a network policy."""
    spec = obj.get("spec", {})
    workloads.check_selector(spec.get("podSelector"), "spec.podSelector", problems)
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for at, rule in enumerate(spec.get(field, [])):
            where = f"spec.{field}[{at}]"
            for n, port in enumerate(rule.get("ports", [])):
                _policy_port(port, f"{where}.ports[{n}]", problems)
            for n, peer in enumerate(rule.get(peers, [])):
                _peer(peer, f"{where}.{peers}[{n}]", problems)
    types = spec.get("policyTypes", [])
    if len(types) > 2:
        problems.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
    for at, found in enumerate(types):
        if found not in {"Ingress", "Egress"}:
            problems.unsupported(f"spec.policyTypes[{at}]", found, ("Egress", "Ingress"))


def _policy_port(port: Json, path: str, problems: Problems) -> None:
    if port.get("protocol") not in _PROTOCOLS:
        problems.unsupported(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)
    if "port" in port:
        containers.int_or_name(port["port"], f"{path}.port", problems)
    if "endPort" in port and "port" not in port:
        problems.required(f"{path}.port", "must be specified when `endPort` is specified")


def _peer(peer: Json, path: str, problems: Problems) -> None:
    if not peer:
        problems.required(path, "must specify a peer")
    block = peer.get("ipBlock")
    if block is not None and len(peer) > 1:
        told = "may not specify both ipBlock and another peer"
        problems.forbidden(path, told)
    for name in ("podSelector", "namespaceSelector"):
        if name in peer:
            workloads.check_selector(peer[name], f"{path}.{name}", problems)
    if block is not None:
        cidr = block.get("cidr", "")
        if not _is_cidr(cidr):
            told = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            problems.invalid(f"{path}.ipBlock.cidr", cidr, told)


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def check_budget(obj: Json, problems: Problems) -> None:
    """Check a disruption budget."""
    spec = obj.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        problems.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        if field in spec:
            workloads.share(spec[field], f"spec.{field}", problems)
    workloads.check_selector(spec.get("selector"), "spec.selector", problems)
    policy = spec.get("unhealthyPodEvictionPolicy", "AlwaysAllow")
    if policy not in {"AlwaysAllow", "IfHealthyBudget"}:
        known = ("AlwaysAllow", "IfHealthyBudget")
        problems.unsupported("spec.unhealthyPodEvictionPolicy", policy, known)


def check_binding(obj: Json, problems: Problems) -> None:
    """Check a role binding."""
    reference = obj.get("roleRef", {})
    if reference.get("kind") not in {"Role", "ClusterRole"}:
        known = ("ClusterRole", "Role")
        problems.unsupported("roleRef.kind", reference.get("kind", ""), known)
    if not reference.get("name"):
        problems.required("roleRef.name")
    for at, subject in enumerate(obj.get("subjects", [])):
        if not subject.get("name"):
            problems.required(f"subjects[{at}].name")
        if subject.get("kind") not in _SUBJECTS:
            problems.unsupported(f"subjects[{at}].kind", subject.get("kind", ""), _SUBJECTS)
        elif subject["kind"] == "ServiceAccount" and not subject.get("namespace"):
            problems.required(f"subjects[{at}].namespace")


def check_role(obj: Json, problems: Problems) -> None:
    """Check a role's rules."""
    for at, rule in enumerate(obj.get("rules") or []):
        where = f"rules[{at}]"
        if not rule.get("verbs"):
            problems.required(f"{where}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            told = "resource rules must supply at least one api group"
            problems.required(f"{where}.apiGroups", told)
        if not rule.get("resources"):
            told = "resource rules must supply at least one resource"
            problems.required(f"{where}.resources", told)


def check_lease(obj: Json, problems: Problems) -> None:
    """Check a lease."""
    spec = obj.get("spec", {})
    if spec.get("leaseDurationSeconds", 1) <= 0:
        told = "must be greater than 0"
        problems.invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], told)
    if spec.get("leaseTransitions", 0) < 0:
        told = "must be greater than or equal to 0"
        problems.invalid("spec.leaseTransitions", spec["leaseTransitions"], told)
