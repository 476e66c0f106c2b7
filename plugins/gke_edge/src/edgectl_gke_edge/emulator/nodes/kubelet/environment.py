"""A container's environment: literal values, references, and ``$(NAME)`` in values and arguments.

Source: kubernetes.io, "Define Dependent Environment Variables", "Expose Pod Information".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING
from typing import Any

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.quantities import parse_quantity

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")

Lookup = Callable[[str, str], Mapping[str, str] | None]


class ConfigError(Exception):
    """A container's configuration names what is not there (``CreateContainerConfigError``)."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` with each ``$(NAME)`` that is known replaced; ``$$`` stands for ``$``."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def field_of(pod: Obj, path: str) -> str:
    """Return what the downward API says at a field path.

    Raises:
        ConfigError: The downward API has no such field.
    """
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if match := _KEYED.fullmatch(path):
        return str((meta.get(match[1]) or {}).get(match[2], ""))
    simple: dict[str, Any] = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta.get("namespace"),
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": status.get("podIP"),
        "status.podIPs": status.get("podIP"),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": status.get("hostIP"),
    }
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = meta.get(path.split(".")[1]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(pairs.items()))
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path] or "")


def resource_of(container: Obj, reference: Obj) -> str:
    """Return a limit or request of a container in the reference's divisor, rounded up."""
    kind, _, name = reference["resource"].partition(".")
    amount = ((container.get("resources") or {}).get(kind) or {}).get(name, "0")
    divisor = parse_quantity(reference.get("divisor") or "1") or 1
    return str((parse_quantity(amount) / divisor).to_integral_value(ROUND_CEILING))


class Environment:
    """Makes the environment of a pod's containers.

    Args:
        pod: The pod, with its addresses in its status.
        config_map: Finds a ConfigMap's data by namespace and name, or None.
        secret: Finds a Secret's decoded data likewise.
    """

    def __init__(self, pod: Obj, config_map: Lookup, secret: Lookup) -> None:
        self._pod = pod
        self._lookups = {"configMap": config_map, "secret": secret}

    def of(self, container: Obj, image_env: list[str]) -> dict[str, str]:
        """Return a container's variables.

        Raises:
            ConfigError: It names something that is not there.
        """
        values = dict(entry.partition("=")[::2] for entry in image_env)
        values["HOSTNAME"] = self._pod["metadata"]["name"]
        for source in container.get("envFrom") or ():
            values |= self._from(source)
        for entry in container.get("env") or ():
            value = self._value(entry, container, values)
            if value is not None:
                values[entry["name"]] = value
        return values

    def _value(self, entry: Obj, container: Obj, values: Mapping[str, str]) -> str | None:
        source = entry.get("valueFrom")
        if source is None:
            return expand(entry.get("value") or "", values)
        if "fieldRef" in source:
            return field_of(self._pod, source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return resource_of(container, source["resourceFieldRef"])
        kind = "configMap" if "configMapKeyRef" in source else "secret"
        reference = source[f"{kind}KeyRef"]
        data = self._data(kind, reference)
        if data is not None and reference["key"] in data:
            return data[reference["key"]]
        if reference.get("optional"):
            return None
        raise ConfigError(
            f"couldn't find key {reference['key']} in {_title(kind)} "
            f"{self._pod['metadata']['namespace']}/{reference['name']}"
        )

    def _from(self, source: Obj) -> dict[str, str]:
        kind = "configMap" if "configMapRef" in source else "secret"
        data = self._data(kind, source[f"{kind}Ref"]) or {}
        return {f"{source.get('prefix') or ''}{key}": value for key, value in data.items()}

    def _data(self, kind: str, reference: Obj) -> Mapping[str, str] | None:
        found = self._lookups[kind](self._pod["metadata"]["namespace"], reference["name"])
        if found is None and not reference.get("optional"):
            raise ConfigError(f'{_title(kind).lower()} "{reference["name"]}" not found')
        return found


def decoded(secret: Obj) -> dict[str, str]:
    """Return a Secret's data as text."""
    data = secret.get("data") or {}
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def _title(kind: str) -> str:
    return "ConfigMap" if kind == "configMap" else "Secret"
