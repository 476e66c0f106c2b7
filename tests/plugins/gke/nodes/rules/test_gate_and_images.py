"""The way to a cluster that can be cut, and images that travel through a registry."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from pathlib import Path

import pytest

from edgectl.emulation.registry import Access, Passwords, RegistryFault, RegistryServer
from edgectl_gke_edge.emulator.addresses import Block
from edgectl_gke_edge.emulator.gate import Gate
from edgectl_gke_edge.emulator.images import push_image
from edgectl_gke_edge.emulator.nodes.kubelet.images import ImageStore, Logins, PullError


def echo(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)


def test_a_gate_that_is_cut_breaks_what_goes_through_and_takes_nothing_new() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=echo, args=(listener,), daemon=True)
    thread.start()
    gate = Gate(listener.getsockname()[1])
    try:
        with socket.create_connection(("127.0.0.1", gate.port), timeout=5) as open_one:
            open_one.sendall(b"a")
            assert open_one.recv(1) == b"a"
            gate.cut()
            assert open_one.recv(1) == b""
        with socket.create_connection(("127.0.0.1", gate.port), timeout=5) as refused:
            assert refused.recv(1) == b""
        gate.mend()
        with socket.create_connection(("127.0.0.1", gate.port), timeout=5) as again:
            again.sendall(b"b")
            assert again.recv(1) == b"b"
    finally:
        gate.stop()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_two_clusters_never_have_the_same_addresses() -> None:
    first = Block()
    second = Block(first.network)
    try:
        assert first.network != second.network
    finally:
        first.release()
        second.release()


def test_an_image_is_pulled_once_and_what_the_registry_lacks_is_told(tmp_path: Path) -> None:
    with RegistryServer(tmp_path / "registry", name="localhost") as registry:
        digest = push_image(registry.host, "a/b", "1", {"tool": "json.tool"})
        store = ImageStore(tmp_path / "images")
        name = f"{registry.host}/a/b@{digest}"

        async def pull() -> list[bool]:
            found = [await store.obtain(name, "IfNotPresent", Logins([])) for _ in range(2)]
            assert (Path(found[0][0].folder) / "opt/edgectl/bin/tool").exists()
            return [pulled for _, pulled in found]

        assert asyncio.run(pull()) == [True, False]
        with pytest.raises(PullError, match="not found"):
            asyncio.run(store.obtain(f"{registry.host}/a/none:1", "IfNotPresent", Logins([])))
    again = ImageStore(tmp_path / "images")
    assert again.find(name) is not None


def test_a_registry_that_asks_for_a_login_gets_the_pull_secret_s(tmp_path: Path) -> None:
    access = Access(Passwords({"me": "secret"}))
    with RegistryServer(tmp_path / "registry", name="localhost", access=access) as registry:
        store = ImageStore(tmp_path / "images")
        with pytest.raises(PullError, match="pull access denied"):
            asyncio.run(store.obtain(f"{registry.host}/a/b:1", "Always", Logins([])))
        auths = {registry.host: {"username": "me", "password": "secret"}}
        data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
        logins = Logins([{"data": {".dockerconfigjson": data}}])
        with pytest.raises(PullError, match="not found"):
            asyncio.run(store.obtain(f"{registry.host}/a/b:1", "Always", logins))


def test_a_registry_that_fails_is_a_pull_error(tmp_path: Path) -> None:
    with RegistryServer(tmp_path / "registry", name="localhost") as registry:
        registry.faults.add(RegistryFault(status=503, times=None))
        store = ImageStore(tmp_path / "images")
        with pytest.raises(PullError, match="unexpected status"):
            asyncio.run(store.obtain(f"{registry.host}/a/b:1", "Always", Logins([])))
