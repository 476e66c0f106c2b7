"""A container's probes: what they ask, how often, and when that makes a difference.

Source: kubernetes.io, "Configure Liveness, Readiness and Startup Probes".
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import msgspec

from edgectl_gke_edge.emulator.nodes.api import Obj

_MAX_ANSWER = 10 << 10

Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]


class Timing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A probe's numbers, with the API's defaults."""

    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3


class Streak(msgspec.Struct, frozen=True, kw_only=True):
    """How a probe has gone lately: ``good`` or ``bad`` times in a row."""

    good: int = 0
    bad: int = 0

    def then(self, *, ok: bool) -> Streak:
        """Return the streak after one more try."""
        return Streak(good=self.good + 1) if ok else Streak(bad=self.bad + 1)

    def verdict(self, timing: Timing) -> bool | None:
        """Return True or False once a threshold is reached; None leaves all as it was."""
        if self.good >= timing.success_threshold:
            return True
        return False if self.bad >= timing.failure_threshold else None


def timing_of(probe: Obj) -> Timing:
    """Return a probe's numbers."""
    names = Timing.__struct_encode_fields__
    given = {key: value for key, value in probe.items() if key in names and value is not None}
    return msgspec.convert(given, Timing)


class Prober:
    """Asks one container.

    Args:
        ports: The container's named ports.
        address: The pod's address.
        execute: Runs a program in the container.
    """

    def __init__(self, ports: dict[str, int], address: str, execute: Execute) -> None:
        self._ports = ports
        self._address = address
        self._execute = execute

    async def ask(self, probe: Obj) -> tuple[bool, str]:
        """Return whether the container passes, and the kubelet's words if not."""
        timeout = timing_of(probe).timeout_seconds
        try:
            if "exec" in probe:
                code, output = await self._execute(probe["exec"].get("command") or [], timeout)
                return code == 0, output
            kind = next((one for one in ("httpGet", "tcpSocket", "grpc") if one in probe), "")
            if not kind:
                return True, ""
            return await asyncio.wait_for(self._network(kind, probe[kind]), timeout)
        except TimeoutError:
            return False, f"command timed out after {timeout} s" if "exec" in probe else _deadline()
        except (OSError, ssl.SSLError, ValueError) as exc:
            return False, f"dial tcp {self._address}: {exc}"

    async def _network(self, kind: str, probe: Obj) -> tuple[bool, str]:
        port = self._port(probe["port"])
        host = probe.get("host") or self._address
        tls = _any_tls() if probe.get("scheme") == "HTTPS" else None
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            if kind != "httpGet":
                return True, ""
            path = probe.get("path") or "/"
            headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.34", "Accept": "*/*"}
            headers |= {one["name"]: one["value"] for one in probe.get("httpHeaders") or ()}
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"GET {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
            answer = await reader.read(_MAX_ANSWER)
            status = int(answer.split(b" ", 2)[1]) if answer.count(b" ") else 0
            ok = 200 <= status < 400
            return ok, "" if ok else f"HTTP probe failed with statuscode: {status}"
        finally:
            writer.close()

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        if port not in self._ports:
            raise ValueError(f"couldn't find port: {port}")
        return self._ports[port]


def _any_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _deadline() -> str:
    return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
