"""The workload API of the IoT Edge daemon: it signs for this module, and says whom to trust.

HTTP over a unix socket; the daemon knows who calls from the socket's process, so there is no
password. The module's key never leaves the daemon.
Source: iotedge, ``api/workload.yaml`` (sign, trust-bundle).
"""

from __future__ import annotations

import base64
import http.client
import socket
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote, quote_plus, urlsplit

import msgspec

from edge_components.iotedge.environment import ModuleIdentity

T = TypeVar("T")

TOKEN_LIFE_S = 3600
_MAX_ANSWER_BYTES = 1 << 20


class WorkloadError(Exception):
    """The daemon does not answer, or refuses."""


class _Signed(msgspec.Struct, frozen=True):
    digest: str


class _Trust(msgspec.Struct, frozen=True):
    certificate: str


class _Refusal(msgspec.Struct, frozen=True):
    message: str = ""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A shared access signature; never printed.

    Attributes:
        until: When it ends, in seconds since 1970.
    """

    text: str
    until: float

    def __repr__(self) -> str:
        return f"Token(until={self.until:.0f})"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("workload", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class WorkloadClient:
    """Calls to the daemon.

    Args:
        identity: For whom.
        clock: Seconds since 1970.
        timeout_s: How long an answer may take.
        life_s: How long a token lives.
    """

    def __init__(
        self,
        identity: ModuleIdentity,
        *,
        clock: Callable[[], float],
        timeout_s: float = 10.0,
        life_s: float = TOKEN_LIFE_S,
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._timeout_s = timeout_s
        self._life_s = life_s

    def token(self) -> Token:
        """Return a new token for edgeHub; raises ``WorkloadError``."""
        until = self._clock() + self._life_s
        resource, expiry = quote_plus(self._identity.resource), int(until)
        signature = self._sign(f"{resource}\n{expiry}".encode())
        text = f"SharedAccessSignature sr={resource}&sig={quote_plus(signature)}&se={expiry}"
        return Token(text=text, until=float(expiry))

    def trust_bundle(self) -> str:
        """Return the authorities that edgeHub's certificate is of (PEM).

        Raises:
            WorkloadError: The daemon does not answer, or refuses.
        """
        return self._call("GET", "/trust-bundle", None, _Trust).certificate

    def _sign(self, data: bytes) -> str:
        module = quote(self._identity.module, safe="")
        generation = quote(self._identity.generation, safe="")
        order = {
            "keyId": "primary",
            "algo": "HMACSHA256",
            "data": base64.b64encode(data).decode(),
        }
        return self._call(
            "POST", f"/modules/{module}/genid/{generation}/sign", order, _Signed
        ).digest

    def _call(self, method: str, path: str, body: object, answer: type[T]) -> T:
        connection = _UnixConnection(urlsplit(self._identity.workload).path, self._timeout_s)
        sent = None if body is None else msgspec.json.encode(body)
        headers = {} if sent is None else {"Content-Type": "application/json"}
        version = quote(self._identity.workload_version, safe="")
        try:
            connection.request(method, f"{path}?api-version={version}", body=sent, headers=headers)
            response = connection.getresponse()
            data = response.read(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as exc:
            why = f"{type(exc).__name__}: {exc}"
            raise WorkloadError(f"'{self._identity.workload}' does not answer: {why}") from exc
        finally:
            connection.close()
        if response.status != 200:
            raise WorkloadError(f"'{path}': the daemon answered {response.status} {_said(data)}")
        try:
            return msgspec.json.decode(data, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise WorkloadError(f"'{path}': the answer cannot be read: {exc}") from exc


def _said(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Refusal).message[:200]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
