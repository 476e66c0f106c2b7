"""Pod security admission: the standards ``baseline`` and ``restricted`` by a namespace's labels.

A pod that breaks the enforced level is refused; what breaks the level of ``warn`` is told in a
header, for the workloads that make pods too. The order and the words are those of the
pod-security-admission library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edgectl_gke_edge.emulator.kube.errors import Json, Place, forbidden
from edgectl_gke_edge.emulator.kube.kinds import Kind, kind_of
from edgectl_gke_edge.emulator.kube.requests import Call
from edgectl_gke_edge.emulator.kube.store import Store

_LABEL = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")
_TEMPLATES = {"DaemonSet", "Deployment", "Job", "PodTemplate", "ReplicaSet", "StatefulSet"}
_BASELINE_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
_RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SECCOMP = {"RuntimeDefault", "Localhost"}


def admit(store: Store, kind: Kind, obj: Json, call: Call) -> None:
    """Refuse a pod, or warn.

    Raises:
        StatusError: 403, the enforced level is broken.
    """
    spec = _pod_spec(kind, obj)
    if spec is None:
        return
    namespace = store.get(kind_of("", "namespaces"), "", obj["metadata"]["namespace"])
    labels = (namespace or {"metadata": {}})["metadata"].get("labels", {})
    if kind.kind == "Pod" and (broken := _broken(labels, "enforce", spec)):
        place = Place(kind.plural, kind.group, obj["metadata"]["name"])
        raise forbidden(place, f"violates PodSecurity {broken}")
    for mode in ("warn", "enforce") if kind.kind != "Pod" else ("warn",):
        told = _broken(labels, mode, spec)
        if told:
            call.warnings.append(f"would violate PodSecurity {told}")
            return


def _broken(labels: dict[str, str], mode: str, spec: Json) -> str:
    level = labels.get(f"{_LABEL}{mode}", "privileged")
    version = labels.get(f"{_LABEL}{mode}-version", "latest")
    if level not in _LEVELS:
        return ""
    found = violations(spec, level)
    return f'"{level}:{version}": {", ".join(found)}' if found else ""


def _pod_spec(kind: Kind, obj: Json) -> Json | None:
    if kind.kind == "Pod":
        return dict(obj.get("spec", {}))
    if kind.kind == "CronJob":
        obj = obj.get("spec", {}).get("jobTemplate", {})
    elif kind.kind not in _TEMPLATES:
        return None
    found: Json | None = obj.get("spec", obj).get("template", {}).get("spec")
    return found


def violations(spec: Json, level: str) -> list[str]:
    """Return what of a pod breaks a level, in the library's words and order."""
    if level == "privileged":
        return []
    checks = _BASELINE if level == "baseline" else _RESTRICTED
    return [told for check in checks if (told := check(spec))]


# Each check returns what is broken, or "".


def _containers(spec: Json) -> Iterator[tuple[str, Json]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field, []):
            yield container.get("name", ""), container.get("securityContext", {})


def _naming(names: list[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"container{'s' if len(names) > 1 else ''} {quoted}"


def _host_namespaces(spec: Json) -> str:
    found = [f"{n}=true" for n in ("hostNetwork", "hostPID", "hostIPC") if spec.get(n)]
    return f"host namespaces ({', '.join(found)})" if found else ""


def _privileged(spec: Json) -> str:
    bad = [name for name, context in _containers(spec) if context.get("privileged")]
    told = f"{_naming(bad)} must not set securityContext.privileged=true"
    return f"privileged ({told})" if bad else ""


def _baseline_capabilities(spec: Json) -> str:
    bad, added = [], set()
    for name, context in _containers(spec):
        extra = set(context.get("capabilities", {}).get("add", [])) - _BASELINE_CAPABILITIES
        if extra:
            bad.append(name)
            added |= extra
    quoted = ", ".join(f'"{c}"' for c in sorted(added))
    told = f"{_naming(bad)} must not include {quoted} in securityContext.capabilities.add"
    return f"non-default capabilities ({told})" if bad else ""


def _host_path(spec: Json) -> str:
    bad = [volume["name"] for volume in spec.get("volumes", []) if "hostPath" in volume]
    quoted = ", ".join(f'"{name}"' for name in bad)
    return f"hostPath volumes (volume{'s' if len(bad) > 1 else ''} {quoted})" if bad else ""


def _host_ports(spec: Json) -> str:
    bad: list[str] = []
    ports: set[int] = set()
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        found = {p["hostPort"] for p in container.get("ports", []) if p.get("hostPort")}
        if found:
            bad.append(container["name"])
            ports |= found
    if not bad:
        return ""
    listed = ", ".join(str(p) for p in sorted(ports))
    use = "use" if len(bad) > 1 else "uses"
    return f"hostPort ({_naming(bad)} {use} hostPort{'s' if len(ports) > 1 else ''} {listed})"


def _baseline_seccomp(spec: Json) -> str:
    pod = spec.get("securityContext", {}).get("seccompProfile", {}).get("type")
    told = []
    if pod is not None and pod not in _SECCOMP:
        told.append("pod")
    found = [(n, c.get("seccompProfile", {}).get("type")) for n, c in _containers(spec)]
    bad = [n for n, kind in found if kind is not None and kind not in _SECCOMP]
    if bad:
        told.append(_naming(bad))
    rule = 'must not set securityContext.seccompProfile.type to "Unconfined"'
    return f"seccompProfile ({' and '.join(told)} {rule})" if told else ""


def _escalation(spec: Json) -> str:
    bad = [n for n, c in _containers(spec) if c.get("allowPrivilegeEscalation") is not False]
    told = f"{_naming(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return f"allowPrivilegeEscalation != false ({told})" if bad else ""


def _capabilities(spec: Json) -> str:
    kept, adding, added = [], [], set()
    for name, context in _containers(spec):
        capabilities = context.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            kept.append(name)
        extra = set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}
        if extra:
            adding.append(name)
            added |= extra
    told = []
    if kept:
        told.append(f'{_naming(kept)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        quoted = ", ".join(f'"{c}"' for c in sorted(added))
        told.append(
            f"{_naming(adding)} must not include {quoted} in securityContext.capabilities.add"
        )
    return f"unrestricted capabilities ({'; '.join(told)})" if told else ""


def _volume_types(spec: Json) -> str:
    bad, types = [], set()
    for volume in spec.get("volumes", []):
        found = [k for k in volume if k != "name" and k not in _RESTRICTED_VOLUMES]
        if found:
            bad.append(volume["name"])
            types |= set(found)
    if not bad:
        return ""
    quoted = ", ".join(f'"{n}"' for n in bad)
    kinds = ", ".join(f'"{t}"' for t in sorted(types))
    one = len(bad) == 1
    told = f"volume{'' if one else 's'} {quoted} {'uses' if one else 'use'} restricted volume type"
    return f"restricted volume types ({told}{'' if len(types) == 1 else 's'} {kinds})"


def _run_as_non_root(spec: Json) -> str:
    pod = spec.get("securityContext", {}).get("runAsNonRoot")
    told: list[str] = []
    if pod is False:
        told.append("pod must not set securityContext.runAsNonRoot=false")
    explicit = [n for n, c in _containers(spec) if c.get("runAsNonRoot") is False]
    if explicit:
        told.append(f"{_naming(explicit)} must not set securityContext.runAsNonRoot=false")
    implicit = [n for n, c in _containers(spec) if c.get("runAsNonRoot") is None]
    if not told and pod is None and implicit:
        told.append(f"pod or {_naming(implicit)} must set securityContext.runAsNonRoot=true")
    return f"runAsNonRoot != true ({'; '.join(told)})" if told else ""


def _run_as_user(spec: Json) -> str:
    told = []
    if spec.get("securityContext", {}).get("runAsUser") == 0:
        told.append("pod")
    bad = [n for n, c in _containers(spec) if c.get("runAsUser") == 0]
    if bad:
        told.append(_naming(bad))
    return f"runAsUser=0 ({' and '.join(told)} must not set runAsUser=0)" if told else ""


def _seccomp(spec: Json) -> str:
    pod = spec.get("securityContext", {}).get("seccompProfile", {}).get("type")
    found: list[tuple[str, Any]] = [
        (n, c.get("seccompProfile", {}).get("type")) for n, c in _containers(spec)
    ]
    told = []
    if pod is not None and pod not in _SECCOMP:
        told.append(f'pod must not set securityContext.seccompProfile.type to "{pod}"')
    explicit = [(n, kind) for n, kind in found if kind is not None and kind not in _SECCOMP]
    if explicit:
        kinds = ", ".join(f'"{kind}"' for kind in sorted({kind for _, kind in explicit}))
        named = _naming([n for n, _ in explicit])
        told.append(f"{named} must not set securityContext.seccompProfile.type to {kinds}")
    implicit = [n for n, kind in found if kind is None]
    if not told and pod is None and implicit:
        rule = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        told.append(f"pod or {_naming(implicit)} {rule}")
    return f"seccompProfile ({'; '.join(told)})" if told else ""


Check = Callable[[Json], str]
_BASELINE: tuple[Check, ...] = (
    _baseline_capabilities,
    _host_namespaces,
    _host_path,
    _host_ports,
    _privileged,
    _baseline_seccomp,
)
# The checks of capabilities, volumes and seccomp take the place of baseline's.
_RESTRICTED: tuple[Check, ...] = (
    _host_namespaces,
    _host_ports,
    _privileged,
    _escalation,
    _capabilities,
    _volume_types,
    _run_as_non_root,
    _run_as_user,
    _seccomp,
)
