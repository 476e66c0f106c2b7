"""Run the hub: one process, one port, until a signal says stop.

``hub.json`` appears once the hub listens and goes when it stops; ``hub.lock`` keeps a second hub
off the same folder. A kill at any moment leaves the folder whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import sqlite3
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import msgspec
import uvicorn
import uvloop

from edgectl_selfhosted.hub import maintenance
from edgectl_selfhosted.hub.app import HubApp
from edgectl_selfhosted.hub.auth import write_private
from edgectl_selfhosted.hub.config import HubConfig
from edgectl_selfhosted.hub.hub import Hub
from edgectl_selfhosted.hub.patience import Patience
from edgectl_selfhosted.hub.protocol import HubProtocol, sweep
from edgectl_selfhosted.hub.store import targets
from edgectl_selfhosted.hub.store.schema import SchemaError

READY_FILE = "hub.json"
LOCK_FILE = "hub.lock"
_OWN_FILES = 256
_SWEEP_S = 2.0
_NEW_OBJECTS = 10_000
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOG = logging.getLogger("edgectl.hub")


class HubStartError(Exception):
    """The hub cannot start; the message says why."""


def serve(config: HubConfig) -> int:
    """Run the hub until SIGTERM or Ctrl-C; return the exit code.

    Raises:
        HubStartError: The folder, the port or the certificates cannot be used.
    """
    _check(config)
    try:
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise HubStartError(f"the folder '{config.data}' cannot be made: {exc.strerror}") from exc
    os.umask(0o077)
    most = most_connections()
    with _locked(config.data), _listening(config) as listener:
        return uvloop.run(_run(config, listener, most))


def _check(config: HubConfig) -> None:
    if (config.tls_cert is None) != (config.tls_key is None):
        raise HubStartError("a TLS certificate and its key are given together, or not at all")
    if config.client_ca is not None and config.tls_cert is None:
        raise HubStartError("client certificates need TLS: give a certificate and its key too")


def most_connections() -> int:
    """Raise the limit of open files to what the user may have; return the connections it allows.

    0 means that there is no limit. Some files are the hub's own: the database, and artifacts on
    their way in and out.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return 0
    return max(1, hard - min(_OWN_FILES, hard // 2))


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    file: IO[str] = (data / LOCK_FILE).open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise HubStartError(f"another hub runs on the folder '{data}'") from exc
        yield


@contextlib.contextmanager
def _listening(config: HubConfig) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
        except OSError as exc:
            raise HubStartError(
                f"the hub cannot listen on '{config.host}' port {config.port}: {exc.strerror}"
            ) from exc
        listener.set_inheritable(False)
        yield listener


def url_of(config: HubConfig, listener: socket.socket) -> str:
    """Return the address by which this machine reaches the hub."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - compared, not bound
    return f"{config.scheme}://{shown}:{port}"


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: a stopped hub exits with 0 or 130."""

    def __init__(self, settings: uvicorn.Config, data: Path, url: str) -> None:
        super().__init__(settings)
        self.stopped_by = 0
        self._data = data
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        ready = msgspec.json.encode({"url": self._url, "pid": os.getpid()}).decode()
        write_private(self._data / READY_FILE, ready + "\n")
        sys.stderr.write(f"hub ready at {self._url}, data in {self._data}\n")
        sys.stderr.flush()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals in the event loop."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def hang_up_on_the_slow(self, patience: Patience) -> None:
        """Look at all connections again and again."""
        interval_s = min(_SWEEP_S, patience.head_s / 4)
        while True:
            await asyncio.sleep(interval_s)
            await sweep(cast("set[HubProtocol]", self.server_state.connections), patience)

    def _stop(self, number: int) -> None:
        if self.should_exit:
            self.force_exit = True
        self.stopped_by = number
        self.should_exit = True


def _server(config: HubConfig, hub: Hub, url: str, most: int) -> _Server:
    try:
        settings = uvicorn.Config(
            HubApp(hub, most),
            http=HubProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=max(1, round(config.patience.idle_s)),
            timeout_graceful_shutdown=5,
            backlog=2048,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
            ssl_ca_certs=str(config.client_ca) if config.client_ca else None,
            ssl_cert_reqs=ssl.CERT_OPTIONAL if config.client_ca else ssl.CERT_NONE,
        )
        settings.load()
    except (OSError, ssl.SSLError) as exc:
        raise HubStartError(f"the TLS certificate or key cannot be used: {exc}") from exc
    return _Server(settings, config.data, url)


async def _say_if_too_few_files(hub: Hub, most: int) -> None:
    devices = await hub.read(targets.count)
    if most and devices > most:
        _LOG.warning(
            "%d devices are registered and RLIMIT_NOFILE lets %d be connected at a time: raise the "
            "hard limit of open files",
            devices,
            most,
        )


def _spare_the_collector() -> None:
    """Keep the garbage collector from looking at what stays, and from looking too often.

    A full look holds up every poll, and what it finds is little: a connection and a device in
    memory are no garbage, and modules never are.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 5, 20)


def _open(config: HubConfig) -> Hub:
    try:
        return Hub(config)
    except (SchemaError, sqlite3.Error, OSError) as exc:
        raise HubStartError(f"the folder '{config.data}' cannot be used: {exc}") from exc


async def _run(config: HubConfig, listener: socket.socket, most: int) -> int:
    hub = _open(config)
    try:
        server = _server(config, hub, url_of(config, listener), most)
        await hub.start()
        await _say_if_too_few_files(hub, most)
        _spare_the_collector()
        work = [*maintenance.chores(hub), server.hang_up_on_the_slow(config.patience)]
        chores = [asyncio.create_task(chore) for chore in work]
        await server.serve(sockets=[listener])
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
    finally:
        (config.data / READY_FILE).unlink(missing_ok=True)
        await hub.stop()
    return 130 if server.stopped_by == signal.SIGINT else 0
