"""Publishes to AWS IoT Core through the nucleus (IPC operation ``PublishToIoTCore``).

The nucleus gives a component the path of its socket and a token, and checks the component's
``accessControl`` for ``aws.greengrass.ipc.mqttproxy``. It answers when it has taken the message
into its own queue, not when the cloud has it. Source: developer guide, ipc-iot-core-mqtt. The
SDK is imported when a link is opened: other devices do not have it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
TOKEN_VARIABLE = "SVCUID"  # noqa: S105  # a variable's name
THING_VARIABLE = "AWS_IOT_THING_NAME"
TIMEOUT_S = 10.0
_AT_LEAST_ONCE = "1"


class NucleusError(Exception):
    """The nucleus is not there, refuses, or its client is not installed.

    Attributes:
        code: The IPC error's name (``UnauthorizedError``, ``ServiceError``, …), or
            ``unavailable`` where there is no connection, ``not-installed`` without the SDK.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_component() -> bool:
    """Say whether this process is a component of a nucleus."""
    return bool(os.environ.get(SOCKET_VARIABLE) and os.environ.get(TOKEN_VARIABLE))


def publish(topic: str, payload: bytes, timeout_s: float = TIMEOUT_S) -> None:
    """Publish one message with QoS 1 over a connection of its own.

    Raises:
        NucleusError: It is not taken.
    """
    with NucleusLink(timeout_s) as link:
        link.publish(topic, payload)


class NucleusLink:
    """A connection to the nucleus; it is opened by the first message and again after a failure.

    Used by one thread at a time.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._client: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand a message to the nucleus; QoS 1.

        Raises:
            NucleusError: It is not taken; the next call opens the connection anew.
        """

        def begin(client: Any, model: Any) -> tuple[Any, Any]:
            request = model.PublishToIoTCoreRequest(
                topic_name=topic, qos=_AT_LEAST_ONCE, payload=payload
            )
            return client.new_publish_to_iot_core(), request

        self._send(topic, begin)

    def publish_locally(self, topic: str, message: dict[str, Any]) -> None:
        """Hand a message to the components of this device that listen (``PublishToTopic``).

        Raises:
            NucleusError: It is not taken; the next call opens the connection anew.
        """

        def begin(client: Any, model: Any) -> tuple[Any, Any]:
            content = model.PublishMessage(json_message=model.JsonMessage(message=message))
            request = model.PublishToTopicRequest(topic=topic, publish_message=content)
            return client.new_publish_to_topic(), request

        self._send(topic, begin)

    def close(self) -> None:
        """End the connection."""
        client, self._client = self._client, None
        if client is not None:
            closed: Future[None] = client.close()
            closed.exception(timeout=self._timeout_s)

    def _send(self, topic: str, begin: Callable[[Any, Any], tuple[Any, Any]]) -> None:
        try:
            model = _sdk()
            if self._client is None:
                self._client = _connect(self._timeout_s)
            operation, request = begin(self._client, model)
            self._wait(operation.activate(request))
            self._wait(operation.get_response())
        except NucleusError:
            self.close()
            raise
        except Exception as exc:
            self.close()
            raise _translated(exc, topic) from exc

    def _wait(self, future: Future[Any]) -> None:
        future.result(self._timeout_s)


def _sdk() -> Any:
    try:
        from awsiot.greengrasscoreipc import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # an extra
            model,
        )
    except ModuleNotFoundError as exc:
        raise NucleusError(
            "not-installed",
            f"publishing through the nucleus needs '{exc.name}':"
            " pip install 'edgectl-edge-components[greengrass]'",
        ) from exc
    return model


def _connect(timeout_s: float) -> Any:
    if not is_component():
        raise NucleusError(
            "unavailable", f"no nucleus: '{SOCKET_VARIABLE}' and '{TOKEN_VARIABLE}' are not set"
        )
    from awsiot import (  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # an extra
        greengrasscoreipc,
    )

    connect: Callable[..., Any] = greengrasscoreipc.connect
    return connect(timeout=timeout_s)


def _translated(error: Exception, topic: str) -> NucleusError:
    name = type(error).__name__
    said = getattr(error, "message", None) or str(error)
    if name in {"UnauthorizedError", "ServiceError", "InvalidArgumentsError"}:
        return NucleusError(name, f"the nucleus does not publish to '{topic}': {name}: {said}")
    if isinstance(error, (TimeoutError, FutureTimeout)):
        return NucleusError("unavailable", "the nucleus did not answer in time")
    return NucleusError("unavailable", f"the nucleus cannot be reached: {name}: {said}")
