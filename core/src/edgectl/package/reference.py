"""References to a registry: ``host[:port]/repository[:tag][@sha256:…]``.

Pure. There is no default registry: a reference says which machine is meant.
Source: OCI distribution-spec 1.1, "Pulling manifests" (grammar of names and tags).
"""

from __future__ import annotations

import ipaddress
import re

from edge_components.contract.digest import check_digest
from edgectl.errors import RegistryError
from edgectl.package.files import contract_errors
from edgectl.records import Record

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_EXAMPLE = "Write it as host[:port]/repository[:tag] or host[:port]/repository@sha256:…"


class Reference(Record, frozen=True, kw_only=True):
    """Where a package is or shall be in a registry.

    Attributes:
        host: Name or address, with the port where one is given.
        tag: "" for none.
        digest: "" for none; with a tag, the digest decides.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine."""
        name = re.sub(r":\d+$", "", self.host).strip("[]")
        if name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Read a reference.

    Raises:
        RegistryError: It is malformed, or names no registry.
    """
    if "://" in text:
        raise RegistryError(f"the reference '{text}' begins with a scheme", hint=_EXAMPLE)
    name, _, digest = text.partition("@")
    host, _, rest = name.partition("/")
    repository, _, tag = rest.partition(":")
    if not _is_host(host):
        raise RegistryError(f"the reference '{text}' names no registry", hint=_EXAMPLE)
    if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
        raise RegistryError(f"the reference '{text}' names no repository", hint=_EXAMPLE)
    if "@" in text:
        with contract_errors(f"the reference '{text}'"):
            check_digest(digest)
    if ":" in rest:
        check_tag(tag)
    return Reference(host=host, repository=repository, tag=tag, digest=digest)


def check_tag(tag: str) -> str:
    """Return ``tag`` if a registry can have it.

    Raises:
        RegistryError: It cannot.
    """
    if not _TAG.fullmatch(tag):
        raise RegistryError(
            f"'{tag}' is not a tag",
            hint="Letters, digits, '_', '.' and '-' are allowed, at most 128 of them.",
        )
    return tag


def _is_host(host: str) -> bool:
    return bool(_HOST.fullmatch(host)) and (
        host == "localhost" or any(mark in host for mark in ".:[")
    )
