"""Rules of a pod's containers: ports, environment, mounts, resources, probes."""

from __future__ import annotations

import re
from typing import Any

from edgectl_gke_edge.emulator.kube import quantities
from edgectl_gke_edge.emulator.kube.errors import Cause, Json, Problems
from edgectl_gke_edge.emulator.kube.validation import names

_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ENV = re.compile(r"^[ -<>-~]+$")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_PORT_RANGE = "must be between 1 and 65535, inclusive"
_FIELDS = {
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
}


def check(
    container: Json, path: str, volumes: set[str], seen: set[str], problems: Problems, *, init: bool
) -> None:
    """Check a container.

    Args:
        container: The container.
        path: Where it stands.
        volumes: Names of the pod's volumes.
        seen: Names of containers so far; its own is added.
        problems: Takes what is wrong.
        init: Whether it is an init container.
    """
    _identity(container, path, seen, problems)
    _ports(container.get("ports", []), f"{path}.ports", problems)
    _environment(container.get("env", []), f"{path}.env", problems)
    _mounts(container.get("volumeMounts", []), f"{path}.volumeMounts", volumes, problems)
    check_resources(container.get("resources", {}), f"{path}.resources", problems)
    once = init and container.get("restartPolicy") != "Always"
    for field in (probe for probe in _PROBES if probe in container):
        if once:
            told = "may not be set for init containers without restartPolicy=Always"
            problems.forbidden(f"{path}.{field}", told)
        else:
            _probe(container[field], f"{path}.{field}", field, problems)
    for field in ("preStop", "postStart"):
        hook = container.get("lifecycle", {}).get(field)
        if hook is not None:
            _handler(hook, f"{path}.lifecycle.{field}", problems)
    _security(container.get("securityContext", {}), f"{path}.securityContext", problems)


def _identity(container: Json, path: str, seen: set[str], problems: Problems) -> None:
    name = container.get("name", "")
    if not name:
        problems.required(f"{path}.name")
    else:
        names.label(name, f"{path}.name", problems)
    if name and name in seen:
        problems.duplicate(f"{path}.name", name)
    seen.add(name)
    image = container.get("image", "")
    if not image:
        problems.required(f"{path}.image")
    elif image != image.strip():
        problems.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    if container.get("imagePullPolicy") not in _PULL:
        problems.unsupported(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), _PULL)
    message = container.get("terminationMessagePolicy")
    if message not in {"File", "FallbackToLogsOnError"}:
        known = ("FallbackToLogsOnError", "File")
        problems.unsupported(f"{path}.terminationMessagePolicy", message, known)


def _security(context: Json, path: str, problems: Problems) -> None:
    escalation = context.get("allowPrivilegeEscalation")
    if context.get("privileged") and escalation is False:
        told = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        problems.invalid(path, context, told)
    for field in ("runAsUser", "runAsGroup"):
        if context.get(field, 0) < 0:
            told = "must be between 0 and 2147483647, inclusive"
            problems.invalid(f"{path}.{field}", context[field], told)


def _ports(ports: list[Json], path: str, problems: Problems) -> None:
    seen: set[str] = set()
    for at, port in enumerate(ports):
        where = f"{path}[{at}]"
        name = port.get("name", "")
        if name:
            port_name(name, f"{where}.name", problems)
            if name in seen:
                problems.duplicate(f"{where}.name", name)
            seen.add(name)
        number = port.get("containerPort", 0)
        if number == 0:
            problems.required(f"{where}.containerPort")
        else:
            port_number(number, f"{where}.containerPort", problems)
        if port.get("hostPort", 0):
            port_number(port["hostPort"], f"{where}.hostPort", problems)
        if port.get("protocol") not in _PROTOCOLS:
            problems.unsupported(f"{where}.protocol", port.get("protocol"), _PROTOCOLS)


def port_number(number: int, path: str, problems: Problems) -> None:
    """Check a port's number."""
    if not 1 <= number <= 65535:
        problems.invalid(path, number, _PORT_RANGE)


def port_name(name: str, path: str, problems: Problems) -> None:
    """Check a port's name (IANA_SVC_NAME)."""
    if len(name) > 15:
        problems.invalid(path, name, "must be no more than 15 characters")
    if not re.fullmatch("[-a-z0-9]+", name):
        problems.invalid(
            path, name, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
        )
    elif not re.search("[a-z]", name):
        problems.invalid(path, name, "must contain at least one letter (a-z)")
    elif "--" in name or name.startswith("-") or name.endswith("-"):
        problems.invalid(
            path, name, "must not contain consecutive hyphens, nor begin or end with one"
        )


def int_or_name(port: int | str, path: str, problems: Problems) -> None:
    """Check a port that may be a number or a name."""
    if isinstance(port, int):
        port_number(port, path, problems)
    else:
        port_name(port, path, problems)


def _environment(variables: list[Json], path: str, problems: Problems) -> None:
    for at, variable in enumerate(variables):
        where = f"{path}[{at}]"
        name = variable.get("name", "")
        if not name:
            problems.required(f"{where}.name")
        elif not _ENV.match(name):
            told = (
                "a valid environment variable name must consist only of printable ASCII characters"
                " other than '='"
            )
            problems.invalid(f"{where}.name", name, told)
        source = variable.get("valueFrom")
        if source is not None:
            _source(source, variable.get("value"), f"{where}.valueFrom", problems)


def _source(source: Json, value: str | None, path: str, problems: Problems) -> None:
    if not source:
        problems.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, "
            "`secretKeyRef` or `fileKeyRef`",
        )
    if value:
        problems.invalid(path, "", "may not be specified when `value` is not empty")
    if len(source) > 1:
        problems.invalid(path, "", "may not have more than one field specified at a time")
    reference = source.get("fieldRef")
    if reference is not None:
        field = re.sub(r"\['.*'\]$", "", reference.get("fieldPath", ""))
        if field not in _FIELDS:
            problems.unsupported(f"{path}.fieldRef.fieldPath", field, sorted(_FIELDS))
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source and not source[name].get("key"):
            problems.required(f"{path}.{name}.key")


def _mounts(mounts: list[Json], path: str, volumes: set[str], problems: Problems) -> None:
    seen: set[str] = set()
    for at, mount in enumerate(mounts):
        where = f"{path}[{at}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            problems.required(f"{where}.name")
        elif name not in volumes:
            problems.causes.append(
                Cause("FieldValueNotFound", f'Not found: "{name}"', f"{where}.name")
            )
        if not target:
            problems.required(f"{where}.mountPath")
        elif target in seen:
            problems.invalid(f"{where}.mountPath", target, "must be unique")
        seen.add(target)
        below = mount.get("subPath", "")
        if below.startswith("/"):
            problems.invalid(f"{where}.subPath", below, "must be a relative path")
        if ".." in below.split("/"):
            problems.invalid(f"{where}.subPath", below, "must not contain '..'")


def check_resources(resources: Json, path: str, problems: Problems) -> None:
    """Check requests and limits: quantities, not negative, requests not above limits."""
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for field, found in (("limits", limits), ("requests", requests)):
        for name, text in sorted(found.items()):
            where = f"{path}.{field}[{name}]"
            extended = "/" in name and not name.startswith("kubernetes.io/")
            if not extended and name not in _STANDARD and not name.startswith("hugepages-"):
                problems.invalid(where, name, "must be a standard resource for containers")
            if quantities.read(text) < 0:
                problems.invalid(where, text, "must be greater than or equal to 0")
            if extended and quantities.read(text) % 1:
                problems.invalid(where, text, "must be an integer")
    for name, text in sorted(requests.items()):
        limit = limits.get(name)
        if "/" in name and limit is not None and quantities.read(limit) != quantities.read(text):
            told = f"must be equal to {name} limit of {limit}"
            problems.invalid(f"{path}.requests", text, told)
        elif limit is not None and quantities.read(text) > quantities.read(limit):
            told = f"must be less than or equal to {name} limit of {limit}"
            problems.invalid(f"{path}.requests", text, told)


_STANDARD = {"cpu", "memory", "ephemeral-storage"}


def _probe(probe: Json, path: str, field: str, problems: Problems) -> None:
    _handler(probe, path, problems)
    for name in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        if probe.get(name, 0) < 0:
            problems.invalid(f"{path}.{name}", probe[name], "must be greater than or equal to 0")
    if field != "readinessProbe" and probe.get("successThreshold") != 1:
        problems.invalid(f"{path}.successThreshold", probe.get("successThreshold"), "must be 1")


def _handler(handler: Json, path: str, problems: Problems) -> None:
    found = [name for name in _HANDLERS if name in handler]
    if not found and "sleep" not in handler:
        problems.required(path, "must specify a handler type")
    for extra in found[1:]:
        problems.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    kind = found[0] if found else ""
    action: Any = handler.get(kind, {})
    if kind == "exec" and not action.get("command"):
        problems.required(f"{path}.exec.command")
    if kind == "httpGet":
        if not action.get("path"):
            problems.required(f"{path}.httpGet.path")
        if action.get("scheme") not in {"HTTP", "HTTPS"}:
            problems.unsupported(f"{path}.httpGet.scheme", action.get("scheme"), ("HTTP", "HTTPS"))
    if kind in {"httpGet", "tcpSocket"}:
        int_or_name(action.get("port", 0), f"{path}.{kind}.port", problems)
    if kind == "grpc":
        port_number(action.get("port", 0), f"{path}.grpc.port", problems)
