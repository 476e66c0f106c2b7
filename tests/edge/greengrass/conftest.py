"""A nucleus's IPC service that keeps what components publish."""

from __future__ import annotations

import base64
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("awsiot.greengrasscoreipc")

from edgectl_aws_greengrass.emulator.nucleus.ipc.messages import Frame, answer, error
from edgectl_aws_greengrass.emulator.nucleus.ipc.server import IpcServer, Send

TOKEN = "the-token"


class FakeNucleus:
    """Takes messages, or refuses them with an error's name, or says nothing."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, str]] = []
        self.connections = 0
        self.refusal = ""
        self.is_silent = False
        self.taken = threading.Event()

    def authenticate(self, token: str) -> str | None:
        self.connections += 1
        return "com.example.Component" if token == TOKEN else None

    def handle(self, component: str, operation: str, frame: Frame, send: Send) -> None:
        assert component == "com.example.Component"
        assert operation == "aws.greengrass#PublishToIoTCore"
        if self.is_silent:
            return
        if self.refusal:
            send(error(frame.stream, f"aws.greengrass#{self.refusal}", "no, because"))
            return
        body = json.loads(frame.payload)
        payload = base64.b64decode(body["payload"])
        self.published.append((body["topicName"], payload, body["qos"]))
        send(answer(frame.stream, f"{operation}Response", {}))
        self.taken.set()

    def closed(self, send: Send) -> None:
        """Keeps no streams."""


class Service:
    """The service at its path; may be started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nucleus = FakeNucleus()
        self._server: IpcServer | None = None

    def start(self) -> None:
        self._server = IpcServer(self.path, self.nucleus)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Serve, with the variables that a component has."""
    with tempfile.TemporaryDirectory(prefix="gg-") as folder:  # a socket's path has to be short
        found = Service(Path(folder) / "ipc.socket")
        found.start()
        name = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
        monkeypatch.setenv(name, str(found.path))
        monkeypatch.setenv("SVCUID", TOKEN)
        monkeypatch.setenv("AWS_IOT_THING_NAME", "core-1")
        yield found
        found.stop()
