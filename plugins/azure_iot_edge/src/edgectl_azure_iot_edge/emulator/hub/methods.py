"""Direct methods: a request from the cloud, an answer from a device that is connected now.

Source: learn.microsoft.com/azure/iot-hub/iot-hub-devguide-direct-methods: payloads up to 128 KB, a
response timeout of 5 to 300 seconds, a connect timeout of 0 to 300.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import msgspec

from edgectl_azure_iot_edge.emulator.hub.errors import NESTED, HubError

MAX_PAYLOAD_BYTES = 128 << 10
DEFAULT_RESPONSE_S = 30
_RESPONSE_S = range(5, 301)
_CONNECT_S = range(301)

Send = Callable[[str, str | None, str, str, bytes], bool]
"""Send (device, module, method, request id, payload); False when it does not listen now."""


class Methods:
    """Calls that wait for their answers.

    Attributes:
        send: Set by the devices' side.
    """

    def __init__(self) -> None:
        self.send: Send = lambda *_: False
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[str, Future[tuple[int, Any]]]] = {}
        self._listening = threading.Condition()
        self._last = 0

    def invoke(self, device_id: str, module_id: str | None, body: dict[str, Any]) -> dict[str, Any]:
        """Call a method and wait for what the device says.

        Raises:
            HubError: ``DeviceNotOnline``, ``GatewayTimeout``, or the request is malformed.
        """
        name = body.get("methodName")
        if not isinstance(name, str) or not name:
            raise _bad("methodName is required")
        payload = msgspec.json.encode(body.get("payload"))
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise HubError("MessageTooLarge", f"The payload has {len(payload)} bytes.")
        response_s = _seconds(body, "responseTimeoutInSeconds", DEFAULT_RESPONSE_S, _RESPONSE_S)
        connect_s = _seconds(body, "connectTimeoutInSeconds", 0, _CONNECT_S)
        who = f"{device_id}/{module_id or ''}"
        request_id, future = self._begin(who)
        try:
            self._deliver(
                lambda: self.send(device_id, module_id, name, request_id, payload), connect_s
            )
            status, answer = future.result(response_s)
        except FutureTimeout as exc:
            said = "Timed out waiting for the response from device."
            raise HubError("GatewayTimeout", said, envelope=NESTED) from exc
        finally:
            with self._lock:
                self._waiting.pop(request_id, None)
        return {"status": status, "payload": answer}

    def answered(self, who: str, request_id: str, status: int, payload: bytes) -> bool:
        """Take a device's answer; return False when nobody waits for it, or it is no JSON."""
        try:
            answer = msgspec.json.decode(payload) if payload.strip() else None
        except msgspec.DecodeError:
            return False
        with self._lock:
            owner, future = self._waiting.pop(request_id, ("", None))
        if future is None or owner != who:
            return False
        future.set_result((status, answer))
        return True

    def came(self) -> None:
        """A device began to listen: those who wait for it to connect look again."""
        with self._listening:
            self._listening.notify_all()

    def _begin(self, who: str) -> tuple[str, Future[tuple[int, Any]]]:
        future: Future[tuple[int, Any]] = Future()
        with self._lock:
            self._last += 1
            request_id = f"{self._last:x}"
            self._waiting[request_id] = (who, future)
        return request_id, future

    def _deliver(self, send: Callable[[], bool], connect_s: int) -> None:
        with self._listening:
            sent = self._listening.wait_for(send, connect_s)
        if not sent:
            raise HubError(
                "DeviceNotOnline",
                "The operation failed because the requested device isn't online. To learn more, "
                "see https://aka.ms/iothub404103",
                envelope=NESTED,
            )


def _seconds(body: dict[str, Any], key: str, default: int, allowed: range) -> int:
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise _bad(f"{key} is not from {allowed.start} to {allowed.stop - 1}")
    return value


def _bad(why: str) -> HubError:
    return HubError("ArgumentInvalid", f"The method request is invalid: {why}", envelope=NESTED)
