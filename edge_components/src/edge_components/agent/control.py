"""The runtime's control socket: HTTP/1.1 with JSON over a Unix socket."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge_components.contract.state import Reason
from edge_components.update.errors import RefusedError

T = TypeVar("T")

_MAX_ANSWER_BYTES = 1 << 20
_MAX_SOCKET_PATH = 100


class RuntimeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime says of itself."""

    pid: int = 0
    ready: bool = False
    release: int | None = 0
    package: str | None = ""
    version_dir: str | None = ""
    precision: str | None = ""
    provider: str | None = ""
    requests: int = 0
    errors: int = 0
    uptime_s: float = 0.0
    rss_bytes: int = 0


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    reason: str = ""
    detail: str = ""


class _Activated(msgspec.Struct, frozen=True, kw_only=True):
    provider: str | None = ""


class ControlError(Exception):
    """The runtime does not answer on its control socket, or not in its language."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, whose path may be longer than the kernel's limit."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("runtime", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        if len(os.fsencode(self._path)) <= _MAX_SOCKET_PATH:
            self.sock.connect(str(self._path))
            return
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def socket_argument(path: Path) -> str:
    """Return how a program that is started in the socket's folder should be told its path."""
    return str(path) if len(os.fsencode(path)) <= _MAX_SOCKET_PATH else path.name


class ControlClient:
    """Calls to the runtime on this machine.

    Args:
        path: The control socket.
        timeout_s: How long a short call may take.
    """

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self.path = path
        self._timeout_s = timeout_s

    def status(self) -> RuntimeStatus:
        """Return what the runtime says of itself; raises ``ControlError``."""
        code, body = self._call("GET", "/control/status", None, self._timeout_s)
        if code != 200:
            raise ControlError(f"the runtime answered {code} to a status request")
        return _decode(body, RuntimeStatus)

    def activate(self, version_dir: Path, precision: str, *, timeout_s: float) -> str:
        """Have the runtime load a version and answer with it; return the execution provider.

        Raises:
            RefusedError: The runtime cannot, and answers with what it had before.
            ControlError: It did not answer.
        """
        request = {"version_dir": str(version_dir), "precision": precision}
        code, body = self._call("POST", "/control/activate", request, timeout_s)
        if code == 200:
            return _decode(body, _Activated).provider or ""
        refusal = _decode(body, _Refusal)
        known = refusal.reason in set(Reason) and refusal.reason
        raise RefusedError(
            Reason(refusal.reason) if known else Reason.LOAD_FAILED,
            refusal.detail or f"the runtime answered {code}",
        )

    def deactivate(self) -> None:
        """Have the runtime answer with no version; raises ``ControlError``."""
        code, _body = self._call("POST", "/control/deactivate", {}, self._timeout_s)
        if code != 200:
            raise ControlError(f"the runtime answered {code} when it was told to stop answering")

    def shutdown(self) -> None:
        """Ask the runtime to end; raises ``ControlError``."""
        self._call("POST", "/control/shutdown", {}, self._timeout_s)

    def event(self, body: str, attributes: Mapping[str, str | int | float | bool]) -> None:
        """Have the runtime record an event; raises ``ControlError`` if it does not."""
        request = {"body": body, "attributes": dict(attributes)}
        code, _body = self._call("POST", "/control/event", request, self._timeout_s)
        if code != 200:
            raise ControlError(f"the runtime answered {code} to an event")

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float
    ) -> tuple[int, bytes]:
        connection = _UnixConnection(self.path, timeout_s)
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Connection": "close"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as exc:
            raise ControlError(f"'{self.path}': {type(exc).__name__}: {exc}") from exc
        finally:
            connection.close()


def _decode(body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.DecodeError as exc:
        raise ControlError(f"the runtime's answer cannot be read: {exc}") from exc
