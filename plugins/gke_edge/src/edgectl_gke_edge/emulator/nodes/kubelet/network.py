"""Addresses on loopback: a node and each of its pods has one of its own.

Linux takes every address of 127.0.0.0/8 as this machine's, so that pods can listen on the same
port. They share the machine's network otherwise; a pod has to listen on its own address, not on
all (``EDGE_POD_HOST`` from ``status.podIP``).
"""

from __future__ import annotations

import msgspec


class NodeNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of one node.

    Attributes:
        prefix: The first three numbers, for example ``127.31.4``.
    """

    prefix: str

    @property
    def node_ip(self) -> str:
        """The node's own address."""
        return f"{self.prefix}.1"

    def pod_ips(self) -> list[str]:
        """Return every address that a pod may have."""
        return [f"{self.prefix}.{number}" for number in range(2, 255)]


class Addresses:
    """Which pod has which address of a node; the one that was free for longest is next."""

    def __init__(self, network: NodeNetwork) -> None:
        self._free = network.pod_ips()
        self._held: dict[str, str] = {}

    def take(self, uid: str, wanted: str = "") -> str:
        """Return the pod's address, the one that it had before if that is known.

        Raises:
            OSError: The node has none left.
        """
        if uid in self._held:
            return self._held[uid]
        if not self._free:
            raise OSError("the node has no address left for the pod")
        address = wanted if wanted in self._free else self._free[0]
        self._free.remove(address)
        self._held[uid] = address
        return address

    def release(self, uid: str) -> None:
        """Let another pod have it, later."""
        address = self._held.pop(uid, None)
        if address is not None:
            self._free.append(address)
