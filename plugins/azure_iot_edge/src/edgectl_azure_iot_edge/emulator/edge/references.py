"""Decides what a name of an image means, as Docker reads it."""

from __future__ import annotations

import ipaddress
import re

from edgectl.api import Record

_REFERENCE = re.compile(
    r"(?:(?P<host>[A-Za-z0-9.-]+(?::\d+)?)/)?(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Reference(Record, frozen=True, kw_only=True):
    """An image's name, taken apart.

    Attributes:
        wanted: The digest where the name has one, else the tag.
    """

    host: str
    repository: str
    wanted: str


def is_loopback(host: str) -> bool:
    """Say whether a registry (``host`` or ``host:port``) is on this machine.

    Container tools speak plain HTTP to those.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def parse_reference(image: str) -> Reference:
    """Read an image's name.

    Raises:
        ValueError: It is none, or leaves its registry to Docker's default: an emulator takes
            nothing from the internet that nobody named.
    """
    match = _REFERENCE.fullmatch(image)
    if match is None:
        raise ValueError(f"invalid reference format: '{image}'")
    host, repository = match["host"], match["repository"]
    if host and not ("." in host or ":" in host or host == "localhost"):
        host, repository = None, f"{host}/{repository}"
    if not host:
        raise ValueError(f"'{image}' names no registry, and a virtual device has no usual one")
    wanted = match["digest"] or match["tag"] or "latest"
    return Reference(host=host, repository=repository, wanted=wanted)
