"""``GoogleServer``: Google's APIs of one project on loopback, in front of clusters.

Two addresses: gRPC without TLS for Kubernetes Engine, Edge Container and GKE Hub, and HTTP for the
token endpoint and the connect gateway's control API (whose client library speaks REST only). The
gateway itself, a third, speaks TLS with a CA of its own, as kubeconfig files demand.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc
import uvicorn

from edgectl_gke_edge.emulator.google.account import Account, Reach
from edgectl_gke_edge.emulator.google.common import Common
from edgectl_gke_edge.emulator.google.container import Container
from edgectl_gke_edge.emulator.google.edge import EdgeContainer
from edgectl_gke_edge.emulator.google.hub import Hub
from edgectl_gke_edge.emulator.google.operations import Operations
from edgectl_gke_edge.emulator.google.rpc import Handler
from edgectl_gke_edge.emulator.google.web import Web
from edgectl_gke_edge.emulator.kube.certificates import Authority
from edgectl_gke_edge.emulator.kube.server import KubeServer
from edgectl_gke_edge.emulator.kube.serving import QuietServer, listen

_HOST = "127.0.0.1"
_THREADS = 16
_START_S = 30.0
_STOP_S = 10.0


class GoogleServer:
    """The APIs of one project.

    Args:
        folder: Where keys are kept.
        project: The project's id.
        takes_s: How long operations take.
        provision: Makes the API server of a cluster that a client creates; None makes none.

    ``account`` holds what the APIs tell and their faults; clusters are added to it with
    ``add_gke``, ``add_edge`` and ``add_membership``, at best before ``start``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        project: str = "edgectl-emulator",
        takes_s: float = 2.0,
        provision: Callable[[str], Reach | None] | None = None,
    ) -> None:
        operations = Operations(takes_s=takes_s)
        self.account = Account(project=project, operations=operations, provision=provision)
        self._folder = folder
        self._authority = Authority(folder / "pki", "connect gateway")
        self._grpc: Any = None
        self._grpc_port = 0
        self._listeners = [listen(_HOST), listen(_HOST)]
        self._servers: list[QuietServer] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def grpc_address(self) -> str:
        """``host:port`` of the gRPC APIs, without TLS."""
        return f"{_HOST}:{self._grpc_port}"

    @property
    def http_address(self) -> str:
        """``host:port`` of the token endpoint and the gateway's control API, without TLS."""
        return f"{_HOST}:{self._listeners[0].getsockname()[1]}"

    @property
    def gateway_url(self) -> str:
        """Where the connect gateway listens, with TLS."""
        return f"https://{_HOST}:{self._listeners[1].getsockname()[1]}"

    @property
    def token_uri(self) -> str:
        """The token endpoint, as key files name it."""
        return f"http://{self.http_address}/token"

    def add_service_account(self, name: str = "edgectl", **more: Any) -> Path:
        """Make a service account; return its key file, for GOOGLE_APPLICATION_CREDENTIALS.

        Args:
            name: Its name.
            more: ``kubernetes_groups`` and ``permissions`` as in ``Identity``.
        """
        key = self.account.identity.add_service_account(name, self.token_uri, **more)
        file = self._folder / f"{name}.json"
        file.write_text(json.dumps(key, indent=1))
        file.chmod(0o600)
        return file

    def start(self) -> Self:
        """Listen.

        Raises:
            RuntimeError: It does not come up.
        """
        self._grpc = grpc.server(ThreadPoolExecutor(_THREADS, "google"))
        parts = (Container, EdgeContainer, Hub, Common)
        methods = [method for part in parts for method in part(self.account).methods()]
        self._grpc.add_generic_rpc_handlers((Handler(self.account, methods),))
        self._grpc_port = self._grpc.add_insecure_port(f"{_HOST}:0")
        self._grpc.start()
        ready = [threading.Event(), threading.Event()]
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="google-web", daemon=True
        )
        self._thread.start()
        if not all(event.wait(_START_S) for event in ready):
            raise RuntimeError("Google's HTTP side does not start")
        return self

    def stop(self) -> None:
        """Stop listening."""
        if self._grpc is not None:
            self._grpc.stop(grace=None).wait(_STOP_S)
        for server in self._servers:
            server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_S)
        for listener in self._listeners:
            listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def _serve(self, ready: list[threading.Event]) -> None:
        web = Web(
            self.account,
            gateway_url=self.gateway_url,
            gateway_ca=self._authority.certificate,
            token_uri=self.token_uri,
        )
        shared: dict[str, Any] = {
            "lifespan": "off",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "timeout_graceful_shutdown": 1,
        }
        configs = [uvicorn.Config(web, **shared), uvicorn.Config(web, **shared, **self._tls())]
        self._servers = [
            QuietServer(config, event) for config, event in zip(configs, ready, strict=True)
        ]
        try:
            await asyncio.gather(
                *(
                    server.serve([listener])
                    for server, listener in zip(self._servers, self._listeners, strict=True)
                )
            )
        finally:
            await web.close()

    def _tls(self) -> dict[str, Any]:
        pair = self._authority.server(["localhost", _HOST])
        certificate, key = self._folder / "pki" / "server.crt", self._folder / "pki" / "server.key"
        certificate.write_text(pair.certificate)
        key.write_text(pair.key)
        key.chmod(0o600)
        return {"ssl_certfile": certificate, "ssl_keyfile": key}


def reach_of(server: KubeServer, address: str = "") -> Reach:
    """Return the way to one of our API servers.

    Args:
        server: The API server, started.
        address: ``host:port`` to tell clients instead of the server's own (a gate before it).
    """

    def sign(user: str, groups: tuple[str, ...]) -> tuple[str, str]:
        pair = server.client_certificate(user, groups)
        return pair.certificate, pair.key

    def admit(token: str, user: str, groups: tuple[str, ...]) -> None:
        server.add_user(user, groups, token)

    own = server.url.removeprefix("https://")
    return Reach(
        address=address or own,
        ca=server.ca,
        admit=admit,
        dismiss=server.remove_token,
        sign=sign,
    )
