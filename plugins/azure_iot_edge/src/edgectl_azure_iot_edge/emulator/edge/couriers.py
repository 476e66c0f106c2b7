"""Brings edgeHub's messages to their endpoints, in the order of their queues.

The hub and the modules have a courier each, so that a module which takes its time holds up nothing
that goes to the cloud.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from edgectl_azure_iot_edge.emulator.edge import topics
from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.hubclient import ModuleClient
from edgectl_azure_iot_edge.emulator.edge.identities import UnreachableError
from edgectl_azure_iot_edge.emulator.edge.messages import MessageStore, Queued
from edgectl_azure_iot_edge.emulator.edge.proxies import Proxy
from edgectl_azure_iot_edge.emulator.edge.routes import UPSTREAM

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_ACK_TIMEOUT_S = 30.0
_CLEAN_EVERY = 20


class Couriers:
    """Both couriers of a device.

    Args:
        proxy: Returns what speaks for a module; None when nobody may.
        client: Returns a module's connection, None when it has none.
        tidy: Called now and then, when messages were brought.
    """

    def __init__(
        self,
        *,
        device: str,
        store: MessageStore,
        faults: FaultFile,
        proxy: Callable[[str], Proxy | None],
        client: Callable[[str], ModuleClient | None],
        tidy: Callable[[], None],
    ) -> None:
        self._device = device
        self._store = store
        self._faults = faults
        self._proxy = proxy
        self._client = client
        self._tidy = tidy
        self._stopping = threading.Event()
        self._news = (threading.Event(), threading.Event())
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        works = (self._to_hub, self._to_modules)
        self._threads = [
            threading.Thread(target=self._run, args=pair, name="courier", daemon=True)
            for pair in zip(self._news, works, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask both to end."""
        self._stopping.set()
        self.wake()

    def join(self) -> None:
        """Wait until both have ended."""
        for thread in self._threads:
            thread.join(5.0)

    def wake(self) -> None:
        """Tell them that there is something new."""
        for event in self._news:
            event.set()

    def _run(self, news: threading.Event, work: Callable[[], None]) -> None:
        rounds = 0
        while not self._stopping.is_set():
            news.wait(_LOOK_S)
            news.clear()
            try:
                work()
                rounds += 1
                if rounds % _CLEAN_EVERY == 0:
                    self._store.clean(self._faults.clock())
            except Exception:
                log.exception("messages cannot be brought now")

    def _to_hub(self) -> None:
        while not self._stopping.is_set() and self._bring_up():
            pass
        self._tidy()

    def _to_modules(self) -> None:
        for endpoint in self._store.lengths():
            if endpoint != UPSTREAM:
                self._hand_over(endpoint)

    def _bring_up(self) -> bool:
        """Send the next messages to the hub; return whether there may be more."""
        batch = self._store.next(UPSTREAM, self._faults.clock())
        sent: list[tuple[Queued, Future[None]]] = []
        for queued in batch:
            proxy = self._proxy(queued.sender)
            if proxy is None:  # the module was taken off the device: nobody may speak for it
                self._store.done([queued.number])
                continue
            try:
                sent.append((queued, proxy.link.send(queued.properties, queued.payload)))
            except UnreachableError:
                break
        arrived = [queued.number for queued, future in sent if _arrives(future)]
        self._store.done(arrived)
        return bool(batch) and len(arrived) == len(batch)

    def _hand_over(self, endpoint: str) -> None:
        """Give a module what waits for one of its inputs."""
        module, _, name = endpoint.partition("/")
        while not self._stopping.is_set():
            client = self._client(module)
            batch = self._store.next(endpoint, self._faults.clock())
            if client is None or not batch:
                return
            for queued in batch:
                properties = topics.from_module(queued.properties, self._device, queued.sender)
                topic = topics.input_topic(self._device, module, name, properties)
                if not client.wants(topic):
                    return
                if not _arrives(client.push(topic, queued.payload, acknowledged=True)):
                    return
                self._store.done([queued.number])


def _arrives(future: Future[None]) -> bool:
    try:
        future.result(_ACK_TIMEOUT_S)
    except (FutureTimeout, ConnectionError):
        return False
    return True
