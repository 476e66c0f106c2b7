"""A real kube-apiserver with etcd, with the same face as ``KubeServer``.

The programs come from ``TEST_ASSET_KUBE_APISERVER`` and ``TEST_ASSET_ETCD`` (envtest's names);
``scripts/build_kube_apiserver.py`` builds them. All listen on loopback only, without root. When a
``kube-controller-manager`` of the same version lies beside the API server it runs too, with those
controllers that ``KubeServer`` has built in: garbage collection, namespaces, service accounts,
quotas. Without it those are missing, and so is the admission plugin that asks for accounts.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from edgectl_gke_edge.emulator.kube.certificates import Authority, Pair
from edgectl_gke_edge.emulator.kube.kubeconfig import kubeconfig_text

APISERVERS, ETCD = "TEST_ASSET_KUBE_APISERVER", "TEST_ASSET_ETCD"
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
)
_START_S = 90.0
_STOP_S = 20.0


def find_programs() -> tuple[tuple[Path, ...], Path | None]:
    """Return the kube-apiservers (several versions, separated as in PATH) and etcd that are set."""
    servers = tuple(Path(p) for p in os.environ.get(APISERVERS, "").split(os.pathsep) if p)
    etcd = os.environ.get(ETCD)
    return servers, Path(etcd) if etcd else None


def manager_beside(program: Path) -> Path | None:
    """Return the kube-controller-manager that lies beside an API server, or None."""
    name = program.name.replace("kube-apiserver", "kube-controller-manager")
    found = program.with_name(name)
    return found if found != program and found.exists() else None


class RealServer:
    """A real API server.

    Args:
        folder: Where data, keys and logs are kept.
        program: The kube-apiserver.
        etcd: etcd.
        name: The cluster's name in its CA and kubeconfig.
        controllers: What the controller manager runs, where there is one; ``*`` is everything,
            nothing leaves it out.
    """

    def __init__(
        self,
        folder: Path,
        program: Path,
        etcd: Path,
        *,
        name: str = "real",
        controllers: Sequence[str] = CONTROLLERS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.token = secrets.token_urlsafe(24)
        self._folder = folder
        self._program, self._etcd = program, etcd
        self._controllers = controllers
        self._manager = manager_beside(program) if controllers else None
        self._authority = Authority(folder / "pki", name)
        self._ports = _free_ports(3)
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def collects(self) -> bool:
        """Whether controllers clear up: what is owned, and what is in a namespace that ends."""
        return self._manager is not None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._ports[0]}"

    @property
    def ca(self) -> str:
        """The CA certificate, PEM."""
        return self._authority.certificate

    def kubeconfig(self, *, token: str | None = None, namespace: str = "default") -> str:
        """Return a kubeconfig file with one context."""
        return kubeconfig_text(self.name, self.url, self.ca, token or self.token, namespace)

    def client_certificate(self, user: str, groups: Sequence[str] = ()) -> Pair:
        """Sign a client certificate for a user."""
        return self._authority.client(user, groups)

    def start(self) -> Self:
        """Start both programs and wait until the API server is ready.

        Raises:
            RuntimeError: They do not come up; the end of the log is in the message.
        """
        self._run("etcd", [str(self._etcd), *self._etcd_options()])
        self._run("kube-apiserver", [str(self._program), *self._server_options()])
        deadline = time.monotonic() + _START_S
        while not self._ready():
            ended = any(process.poll() is not None for process in self._processes)
            if ended or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"'{self._program}' does not start: {self._log_tail()}")
            time.sleep(0.2)
        if self._manager is not None:
            self._run("kube-controller-manager", [str(self._manager), *self._manager_options()])
        return self

    def stop(self) -> None:
        """Stop both programs, the API server first."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    close = stop

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self, name: str, arguments: list[str]) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._folder)}
            process = subprocess.Popen(
                arguments, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes.append(process)

    def _etcd_options(self) -> list[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._ports[1:])
        return [
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ]

    def _server_options(self) -> list[str]:
        pki = self._folder / "pki"
        pair = self._authority.server(["localhost", "127.0.0.1"])
        files = {"server.crt": pair.certificate, "server.key": pair.key}
        files["tokens.csv"] = f'{self.token},edgectl-admin,1,"system:masters"\n'
        files["accounts.key"] = _account_key()
        for name, text in files.items():
            (pki / name).write_text(text)
            (pki / name).chmod(0o600)
        return [
            f"--etcd-servers=http://127.0.0.1:{self._ports[1]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._ports[0]}",
            f"--tls-cert-file={pki / 'server.crt'}",
            f"--tls-private-key-file={pki / 'server.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--token-auth-file={pki / 'tokens.csv'}",
            f"--service-account-key-file={pki / 'accounts.key'}",
            f"--service-account-signing-key-file={pki / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            f"--disable-admission-plugins={','.join(self._without())}",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        ]

    def _without(self) -> list[str]:
        """Name the admission plugins that need a controller which does not run."""
        accounts = [] if self._manager is not None else ["ServiceAccount"]
        return [*accounts, "TaintNodesByCondition"]

    def _manager_options(self) -> list[str]:
        pki = self._folder / "pki"
        kubeconfig = pki / "controllers.kubeconfig"
        kubeconfig.write_text(self.kubeconfig())
        kubeconfig.chmod(0o600)
        return [
            f"--kubeconfig={kubeconfig}",
            f"--controllers={','.join(self._controllers)}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'accounts.key'}",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--leader-elect=false",
        ]

    def _ready(self) -> bool:
        context = ssl.create_default_context(cadata=self.ca)
        url = f"{self.url}/readyz"
        try:
            with urllib.request.urlopen(url, context=context, timeout=5) as answer:  # noqa: S310 - our own https URL
                return bool(answer.status == 200)
        except OSError:
            return False

    def _log_tail(self) -> str:
        text = (self._folder / "kube-apiserver.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-10:])


def _account_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
