"""What kube-proxy does, at an address that this machine has: services answer at each node's own.

A Service with ``internalTrafficPolicy: Local`` goes to ready pods of the same node only. Cluster
addresses exist nowhere here, so ``NODE:PORT`` of the service stands for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from itertools import count

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.kubelet.node import Node
from edgectl_gke_edge.emulator.nodes.podfacts import is_going, is_ready
from edgectl_gke_edge.emulator.nodes.selection import labels_of, selects

_LOG = logging.getLogger(__name__)
_BLOCK = 1 << 16

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def backends(service: Obj, port: Obj, pods: list[Obj], node: str) -> list[tuple[str, int]]:
    """Return where a service's port leads from a node: addresses of ready pods."""
    spec = service["spec"]
    local = spec.get("internalTrafficPolicy") == "Local"
    found = []
    for pod in pods:
        if pod["metadata"]["namespace"] != service["metadata"]["namespace"]:
            continue
        if not selects({"matchLabels": spec["selector"]}, labels_of(pod)):
            continue
        if local and pod["spec"].get("nodeName") != node:
            continue
        address = (pod.get("status") or {}).get("podIP")
        number = target_port(pod, port)
        if address and number and is_ready(pod) and not is_going(pod):
            found.append((address, number))
    return sorted(found)


def target_port(pod: Obj, port: Obj) -> int:
    """Return the number of a service's target port in a pod; 0 if it has no port of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    for container in pod["spec"]["containers"]:
        for one in container.get("ports") or ():
            if one.get("name") == target:
                return int(one["containerPort"])
    return 0


class ServiceProxy:
    """Listens on one node's address for all services.

    Args:
        node: The node.
        services: All services.
        pods: All pods.
    """

    def __init__(self, node: Node, services: Informer, pods: Informer) -> None:
        self._node = node
        self._services = services
        self._pods = pods
        self._turn = count()
        self._servers: dict[int, tuple[str, asyncio.Server]] = {}
        self._changed = asyncio.Event()
        services.on_change(lambda before, after: self._changed.set())

    async def run(self) -> None:
        """Follow the services until cancelled."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._listen()
        finally:
            for _, server in self._servers.values():
                server.close()

    async def _listen(self) -> None:
        wanted: dict[int, str] = {}
        for key, service in sorted(self._services.items.items()):
            if service["spec"].get("selector"):
                for port in service["spec"].get("ports") or ():
                    wanted.setdefault(int(port["port"]), key)
        for number, (key, server) in list(self._servers.items()):
            if wanted.get(number) != key:
                server.close()
                del self._servers[number]
        for number, key in wanted.items():
            if number in self._servers:
                continue
            try:
                server = await asyncio.start_server(
                    self._handler(key, number), self._node.ip, number
                )
            except OSError as exc:
                _LOG.info("service '%s' has no port on '%s': %s", key, self._node.name, exc)
                continue
            self._servers[number] = (key, server)

    def _handler(self, key: str, number: int) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(OSError):
                for address, port in self._candidates(key, number):
                    try:
                        back = await asyncio.open_connection(address, port)
                    except OSError:
                        continue
                    await _join(reader, writer, *back)
                    return

        return handle

    def _candidates(self, key: str, number: int) -> list[tuple[str, int]]:
        service = self._services.get(key)
        if service is None:
            return []
        port = next(p for p in service["spec"]["ports"] if int(p["port"]) == number)
        found = backends(service, port, list(self._pods.items.values()), self._node.name)
        first = next(self._turn) % len(found) if found else 0
        return found[first:] + found[:first]


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    back_reader: asyncio.StreamReader,
    back_writer: asyncio.StreamWriter,
) -> None:
    with contextlib.closing(back_writer):
        forth = asyncio.create_task(_copy(reader, back_writer))
        try:
            # The pod has the last word: what it has said is all there is to say.
            await _copy(back_reader, writer)
        finally:
            forth.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
