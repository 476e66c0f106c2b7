"""What the nodes of a cluster are told while they run: a file that they look at.

A file and not a socket, so that a node that was killed does, when it comes back, what was said
before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgectl_gke_edge.emulator.nodes.kubelet.node import Node

ORDERS_FILE, OBEYED_FILE = "orders.json", "orders.obeyed.json"
_LOOK_S = 0.1
_OBEY_S = 5.0


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """Faults of nodes.

    Attributes:
        silent: Nodes that tell the API server nothing: no heartbeat, no status.
        no_pulls: Node (``*`` for all) to words; an image whose name has one cannot be pulled.
    """

    silent: tuple[str, ...] = ()
    no_pulls: dict[str, tuple[str, ...]] = {}


def write_orders(folder: Path, orders: Orders, *, wait: bool = True) -> bool:
    """Leave orders for the nodes whose settings name this folder.

    Args:
        folder: The nodes' folder.
        orders: What they shall do.
        wait: Whether to wait until they do, a few seconds at most.

    Returns:
        Whether the nodes are known to have taken them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = msgspec.json.encode(orders)
    _replace(folder / ORDERS_FILE, data)
    deadline = time.monotonic() + (_OBEY_S if wait else 0.0)
    while not (taken := _read(folder / OBEYED_FILE) == data) and time.monotonic() < deadline:
        time.sleep(_LOOK_S / 2)
    return taken


async def obey(folder: Path, nodes: Sequence[Node]) -> None:
    """Follow the file until cancelled."""
    seen = b""
    while True:
        data = _read(folder / ORDERS_FILE) or b"{}"
        if data != seen:
            seen = data
            _apply(msgspec.json.decode(data, type=Orders), nodes)
            _replace(folder / OBEYED_FILE, data)
        await asyncio.sleep(_LOOK_S)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _apply(orders: Orders, nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.name in orders.silent:
            node.heartbeat.clear()
        else:
            node.heartbeat.set()
        node.no_pulls = {*orders.no_pulls.get("*", ()), *orders.no_pulls.get(node.name, ())}
