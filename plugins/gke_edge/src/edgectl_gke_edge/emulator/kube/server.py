"""``KubeServer``: one cluster's API server, in a thread of whoever starts it.

It listens with TLS on loopback, keeps its objects and its CA in a folder, and gives what a client
needs: URL, CA, tokens, kubeconfig. The port and the tokens stay the same over restarts from one
folder, so that kubeconfig files do too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import uvicorn

from edgectl_gke_edge.emulator.kube.access import MASTERS, Access
from edgectl_gke_edge.emulator.kube.app import App
from edgectl_gke_edge.emulator.kube.certificates import Authority, Pair
from edgectl_gke_edge.emulator.kube.connections import Connections, protocol_of
from edgectl_gke_edge.emulator.kube.faults import Faults
from edgectl_gke_edge.emulator.kube.features import Features
from edgectl_gke_edge.emulator.kube.kubeconfig import kubeconfig_text
from edgectl_gke_edge.emulator.kube.kubelets import Kubelets
from edgectl_gke_edge.emulator.kube.lifecycle import Lifecycle
from edgectl_gke_edge.emulator.kube.registry import Registry
from edgectl_gke_edge.emulator.kube.roles import add_default_roles
from edgectl_gke_edge.emulator.kube.serving import QuietServer, listen
from edgectl_gke_edge.emulator.kube.store import WINDOW, Store
from edgectl_gke_edge.emulator.kube.subresources import Subresources
from edgectl_gke_edge.emulator.kube.watching import BOOKMARK_EVERY_S

VERSION = "v1.33.5-gke.1080000"
ADMIN = "edgectl-admin"
_START_S = 30.0
_STOP_S = 10.0
_GRACE_S = 0.2


class KubeServer:
    """One cluster's API server.

    Args:
        folder: Where objects, keys and settings are kept.
        name: The cluster's name: in its CA and kubeconfig.
        version: What ``/version`` says, ``vMAJOR.MINOR.PATCH…``.
        host: The address to listen on.
        port: The port; 0 takes a free one the first time and the same one after.
        names: Further names and addresses for the server's certificate.
        window: How many events can be watched from the past.
        bookmark_every_s: How often watches that want it are told the present version.

    Use it as a context manager, or call ``start`` and ``stop``. All methods may be called from any
    thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "cluster",
        version: str = VERSION,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Sequence[str] = (),
        window: int = WINDOW,
        bookmark_every_s: float = BOOKMARK_EVERY_S,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._folder = folder
        self._host = host
        self._names = names
        self._version = version
        self._features = Features.of(version)
        self._bookmark_every_s = bookmark_every_s
        self._authority = Authority(folder / "pki", name)
        self._settings = _read_settings(folder / "server.json", port)
        self._store = Store(folder / "objects.sqlite", window)
        self._access = Access(self._store)
        self._access.add_token(ADMIN, (MASTERS,), self.token)
        self.faults = Faults()
        self._connections = Connections()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._failure: BaseException | None = None

    # What clients need

    @property
    def collects(self) -> bool:
        """Whether what is owned goes with its owner, and namespaces are emptied: always here."""
        return True

    @property
    def url(self) -> str:
        """Where it listens, ``https://127.0.0.1:PORT``."""
        return f"https://{self._host}:{self.port}"

    @property
    def port(self) -> int:
        """The port; known once it was started."""
        return int(self._settings["port"])

    @property
    def ca(self) -> str:
        """The cluster's CA certificate, PEM."""
        return self._authority.certificate

    @property
    def token(self) -> str:
        """The administrator's bearer token (group ``system:masters``)."""
        return str(self._settings["token"])

    def kubeconfig(self, *, token: str | None = None, namespace: str = "default") -> str:
        """Return a kubeconfig file with one context, named as the cluster."""
        return kubeconfig_text(self.name, self.url, self.ca, token or self.token, namespace)

    def add_user(self, user: str, groups: Sequence[str] = (), token: str | None = None) -> str:
        """Let a user in; return the bearer token. What he may do, RBAC objects say."""
        return self._access.add_token(user, groups, token)

    def remove_token(self, token: str) -> None:
        """Let a token end: its next request is answered 401."""
        self._access.forget_token(token)

    def client_certificate(self, user: str, groups: Sequence[str] = ()) -> Pair:
        """Sign a client certificate for a user, for access without a token."""
        return self._authority.client(user, groups)

    # Running

    def start(self) -> Self:
        """Listen, and answer from a thread of its own.

        Raises:
            RuntimeError: It does not come up.
        """
        listener = listen(self._host, self.port)
        self._settings["port"] = listener.getsockname()[1]
        (self._folder / "server.json").write_text(json.dumps(self._settings))
        ready = threading.Event()
        self._failure = None
        self._thread = threading.Thread(
            target=self._run, args=(listener, ready), name=f"kube-{self.name}", daemon=True
        )
        self._thread.start()
        if not ready.wait(_START_S) or self._failure is not None:
            raise RuntimeError(
                f"the API server of '{self.name}' does not start: {self._failure}"
            ) from self._failure
        return self

    def stop(self) -> None:
        """Stop listening and end the thread; what is stored stays."""
        if self._thread is None:
            return
        if self._loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._end)
        self._thread.join(_STOP_S)
        self._thread = None

    def close(self) -> None:
        """Stop, and close the file of objects."""
        self.stop()
        self._store.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    # Faults

    def cut(self) -> None:
        """Cut the cluster off: connections break, new ones are dropped."""
        self._connections.cut_off = True
        self._soon(self._connections.abort)

    def mend(self) -> None:
        """Let the cluster be reached again."""
        self._connections.cut_off = False

    def forget_events(self) -> None:
        """Forget past events, as etcd's compaction does: watches from before are told 410."""
        self._soon(self._store.forget)

    def deny(self, verb: str, resource: str) -> None:
        """Refuse a verb on a resource (``*`` for any) to everybody, whatever roles say."""
        self._access.denied.append((verb, resource))

    def allow_again(self) -> None:
        """Take all ``deny`` back."""
        self._access.denied.clear()

    # The thread

    def _soon(self, action: Any) -> None:
        if self._loop is None or self._thread is None:
            return
        done = threading.Event()

        def run() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(_STOP_S)

    def _end(self) -> None:
        self._store.end_watches()
        if self._server is not None:
            self._server.should_exit = True
        if self._loop is not None:  # clients that keep connections open are not waited for
            self._loop.call_later(_GRACE_S, self._connections.abort)

    def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(listener, ready))
        except BaseException as exc:  # noqa: BLE001 - told by start(), which waits for it
            self._failure = exc
        finally:
            listener.close()
            ready.set()

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        lifecycle = Lifecycle(self._store, self.ca)
        registry = Registry(self._store, lifecycle, self._features)
        kubelets = Kubelets(self._store)
        app = App(
            registry,
            self._access,
            Subresources(registry, self._access, kubelets),
            self.faults,
            version=self._version,
            peers=self._connections.users,
            bookmark_every_s=self._bookmark_every_s,
        )
        add_default_roles(self._store)
        lifecycle.start()
        server = QuietServer(self._config(app), ready)
        self._server = server
        try:
            await server.serve([listener])
        finally:
            lifecycle.stop()
            await kubelets.close()
            await self._connections.end()

    def _config(self, app: App) -> uvicorn.Config:
        pair = self._authority.server(["localhost", self._host, *self._names])
        certificate, key = self._folder / "pki" / "server.crt", self._folder / "pki" / "server.key"
        certificate.write_text(pair.certificate)
        key.write_text(pair.key)
        key.chmod(0o600)
        return uvicorn.Config(
            app,
            http=protocol_of(self._connections),
            ssl_certfile=certificate,
            ssl_keyfile=key,
            ssl_ca_certs=str(self._folder / "pki" / "ca.crt"),
            ssl_cert_reqs=ssl.CERT_OPTIONAL,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=75,
        )


def _read_settings(file: Path, port: int) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    settings.setdefault("token", secrets.token_urlsafe(24))
    settings["port"] = port or settings.get("port", 0)
    return settings
