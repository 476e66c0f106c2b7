"""Decides which parts of ``createOptions`` a virtual device honours, and what they mean.

They are Docker's container-create document (API 1.41). What is not named here is passed over, as by
a Docker that is asked for what it need not do; it still makes another module of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgectl.api import Record


class OptionsError(Exception):
    """A part that is not as Docker takes it."""


class Bind(Record, frozen=True, kw_only=True):
    """A folder or file of the device in the module.

    Attributes:
        source: An absolute path of the device, or the name of a volume.
        make: Whether a source that is not there is made, as for ``Binds``.
    """

    source: str
    target: str
    read_only: bool = False
    make: bool = True


class Port(Record, frozen=True, kw_only=True):
    """A port of the module that the device listens on."""

    container: int
    host: int
    address: str = ""


class Options(Record, frozen=True, kw_only=True):
    """What is honoured."""

    binds: tuple[Bind, ...] = ()
    ports: tuple[Port, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    folder: str = ""
    user: str = ""
    memory_bytes: int = 0


def parse_options(text: str) -> Options:
    """Read ``createOptions``.

    Raises:
        OptionsError: A part that would be honoured cannot be read.
    """
    document = json.loads(text or "{}")
    host = document.get("HostConfig") or {}
    if not isinstance(host, dict):
        raise OptionsError("'HostConfig' is no object")
    binds = [*map(_bind, _list(host, "Binds")), *map(_mount, _list(host, "Mounts"))]
    return Options(
        binds=tuple(bind for bind in binds if bind is not None),
        ports=_ports(host.get("PortBindings") or {}),
        env=tuple(str(entry) for entry in _list(document, "Env")),
        entrypoint=_words(document, "Entrypoint"),
        command=_words(document, "Cmd"),
        folder=str(document.get("WorkingDir") or ""),
        user=str(document.get("User") or ""),
        memory_bytes=int(host.get("Memory") or 0),
    )


def _bind(entry: object) -> Bind:
    parts = str(entry).split(":")
    if len(parts) not in {2, 3} or not parts[1].startswith("/") or not parts[0]:
        raise OptionsError(f"invalid volume specification: '{entry}'")
    flags = parts[2].split(",") if len(parts) == 3 else []
    return Bind(source=parts[0], target=parts[1], read_only="ro" in flags)


def _mount(entry: object) -> Bind | None:
    if not isinstance(entry, dict) or entry.get("Type") not in {"bind", "volume"}:
        return None
    target = str(entry.get("Target") or "")
    if not target.startswith("/"):
        raise OptionsError(f"invalid mount target: '{target}'")
    return Bind(
        source=str(entry.get("Source") or ""),
        target=target,
        read_only=bool(entry.get("ReadOnly")),
        make=entry["Type"] == "volume",
    )


def _ports(bindings: Mapping[str, Any]) -> tuple[Port, ...]:
    found = []
    for name, places in bindings.items():
        port, _, protocol = str(name).partition("/")
        if protocol not in {"", "tcp"} or not places:
            continue
        for place in places:
            try:
                host = int(place.get("HostPort") or 0)
                found.append(
                    Port(container=int(port), host=host, address=str(place.get("HostIp") or ""))
                )
            except (AttributeError, ValueError) as exc:
                raise OptionsError(f"invalid port binding of '{name}': {place!r}") from exc
    return tuple(found)


def _words(document: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    value = document.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return ("/bin/sh", "-c", value)
    return tuple(str(word) for word in value)


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise OptionsError(f"'{key}' is no list")
    return value
