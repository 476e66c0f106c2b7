"""Where a repository is: ``host[:port]/repository``; pure.

Plain HTTP is spoken to this machine only, unless the site says otherwise: a digest protects what is
read, but not the credentials that are sent.
Source: OCI distribution-spec 1.1, "Pulling manifests" (grammar of names).
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from edge_components.contract.errors import ContractError

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_MAX_CHARS = 255


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository of a registry.

    Attributes:
        host: Name or address, with the port where one is given.
        name: The repository's name on that host.
    """

    host: str
    name: str

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine."""
        host = re.sub(r":\d+$", "", self.host).strip("[]")
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


def parse_repository(text: str) -> Repository:
    """Read ``host[:port]/repository``.

    Raises:
        ContractError: ``bad-reference``.
    """
    host, _, name = text.partition("/")
    is_host = _HOST.fullmatch(host) and (host == "localhost" or any(m in host for m in ".:["))
    if not is_host or not _REPOSITORY.fullmatch(name) or len(text) > _MAX_CHARS:
        raise ContractError(
            "bad-reference", f"'{text[:80]}' is not a repository, host[:port]/repository"
        )
    return Repository(host=host, name=name)
