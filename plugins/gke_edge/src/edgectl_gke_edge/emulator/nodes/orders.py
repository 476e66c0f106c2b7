"""What the nodes of a cluster are told while they run: a file that they look at.

A file and not a socket, so that a node that was killed does, when it comes back, what was said
before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgectl_gke_edge.emulator.nodes.kubelet.node import Node

ORDERS_FILE = "orders.json"
_LOOK_S = 0.1


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """Faults of nodes.

    Attributes:
        silent: Nodes that tell the API server nothing: no heartbeat, no status.
        no_pulls: Node (``*`` for all) to words; an image whose name has one cannot be pulled.
    """

    silent: tuple[str, ...] = ()
    no_pulls: dict[str, tuple[str, ...]] = {}


def write_orders(folder: Path, orders: Orders) -> None:
    """Leave orders for the nodes whose settings name this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{ORDERS_FILE}.part"
    part.write_bytes(msgspec.json.encode(orders))
    part.replace(folder / ORDERS_FILE)


async def obey(folder: Path, nodes: Sequence[Node]) -> None:
    """Follow the file until cancelled."""
    seen = b""
    while True:
        try:
            data = (folder / ORDERS_FILE).read_bytes()
        except FileNotFoundError:
            data = b"{}"
        if data != seen:
            seen = data
            _apply(msgspec.json.decode(data, type=Orders), nodes)
        await asyncio.sleep(_LOOK_S)


def _apply(orders: Orders, nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.name in orders.silent:
            node.heartbeat.clear()
        else:
            node.heartbeat.set()
        node.no_pulls = {*orders.no_pulls.get("*", ()), *orders.no_pulls.get(node.name, ())}
