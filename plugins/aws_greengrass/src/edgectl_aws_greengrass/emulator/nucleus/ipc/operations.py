"""Decides what components get when they ask the nucleus.

Operations and their errors: developer guide, ipc-iot-core-mqtt, ipc-publish-subscribe,
ipc-component-lifecycle and ipc-component-configuration. What is not here is answered with
``ServiceError``.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from edgectl.api import Record
from edgectl.emulation import mqtt
from edgectl_aws_greengrass.emulator.broker import topics
from edgectl_aws_greengrass.emulator.nucleus.configuration import PointerError, look_up, merged
from edgectl_aws_greengrass.emulator.nucleus.document import Deployment
from edgectl_aws_greengrass.emulator.nucleus.ipc.authorization import MQTT_PROXY, PUBSUB, allowed
from edgectl_aws_greengrass.emulator.nucleus.ipc.messages import Frame, answer, error
from edgectl_aws_greengrass.emulator.nucleus.ipc.server import Send
from edgectl_aws_greengrass.emulator.nucleus.kernel import Kernel
from edgectl_aws_greengrass.emulator.nucleus.mqtt import Link
from edgectl_aws_greengrass.emulator.nucleus.service import ServiceState
from edgectl_aws_greengrass.emulator.nucleus.settings import NucleusSettings
from edgectl_aws_greengrass.emulator.nucleus.state import StateFile

_MODEL = "aws.greengrass#"
_REPORTABLE = {"RUNNING": ServiceState.RUNNING, "ERRORED": ServiceState.ERRORED}


class _RefusedError(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class _Watcher(Record, frozen=True, kw_only=True):
    component: str
    stream: int
    send: Send
    topic: str = ""


class Operations:
    """Answers components."""

    def __init__(
        self, settings: NucleusSettings, kernel: Kernel, state: StateFile, link: Link
    ) -> None:
        self._settings = settings
        self._kernel = kernel
        self._state = state
        self._link = link
        self._lock = threading.Lock()
        self._watchers: list[_Watcher] = []
        self._listeners: list[_Watcher] = []
        self._deferred: dict[str, float] = {}
        self._operations: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
            "PublishToIoTCore": self._publish,
            "PublishToTopic": self._publish_locally,
            "UpdateState": self._update_state,
            "GetConfiguration": self._get_configuration,
            "UpdateConfiguration": self._update_configuration,
            "DeferComponentUpdate": self._defer,
            "SendConfigurationValidityReport": lambda _component, _body: {},
        }

    def authenticate(self, token: str) -> str | None:
        """Return the component whose ``SVCUID`` it is."""
        service = self._kernel.by_token(token)
        return None if service is None else service.name

    def handle(self, component: str, operation: str, frame: Frame, send: Send) -> None:
        """Answer one request.

        Raises:
            ValueError: It cannot be read.
        """
        name = operation.removeprefix(_MODEL)
        body = json.loads(frame.payload or b"{}")
        if name == "SubscribeToTopic":
            self._listen(component, operation, frame, body, send)
            return
        if name.startswith("SubscribeTo") and name in _STREAMS:
            if name == "SubscribeToComponentUpdates":
                with self._lock:
                    watcher = _Watcher(component=component, stream=frame.stream, send=send)
                    self._watchers.append(watcher)
            send(answer(frame.stream, f"{operation}Response", {}, last=False))
            return
        work = self._operations.get(name)
        if work is None:
            why = f"'{operation}' is not served by this device"
            send(error(frame.stream, f"{_MODEL}ServiceError", why))
            return
        try:
            send(answer(frame.stream, f"{operation}Response", work(component, body)))
        except _RefusedError as exc:
            send(error(frame.stream, _MODEL + exc.name, str(exc)))

    def closed(self, send: Send) -> None:
        """Forget a connection's streams."""
        with self._lock:
            self._watchers = [each for each in self._watchers if each.send is not send]
            self._listeners = [each for each in self._listeners if each.send is not send]

    def ask_components(self, deployment: Deployment) -> None:
        """Tell subscribers that they are about to be stopped, and wait while they defer it."""
        until = time.monotonic() + deployment.notify_timeout_s
        event = {
            "preUpdateEvent": {
                "deploymentId": deployment.deployment_id,
                "isGgcRestarting": False,
            }
        }
        with self._lock:
            watchers = list(self._watchers)
            self._deferred = {}
        for watcher in watchers:
            model = f"{_MODEL}ComponentUpdatePolicyEvents"
            watcher.send(answer(watcher.stream, model, event, last=False))
        asked = {watcher.component for watcher in watchers}
        while time.monotonic() < until:
            with self._lock:
                answered = dict(self._deferred)
            if asked <= set(answered) and all(
                moment <= time.monotonic() for moment in answered.values()
            ):
                return
            time.sleep(0.05)

    def _publish(self, component: str, body: dict[str, Any]) -> dict[str, Any]:
        topic = str(body.get("topicName") or "")
        if fault := topics.topic_fault(topic):
            raise _RefusedError("InvalidArgumentsError", fault)
        if str(body.get("qos")) not in {"0", "1"}:
            raise _RefusedError("InvalidArgumentsError", f"QoS '{body.get('qos')}' is none")
        try:
            payload = base64.b64decode(body.get("payload") or "", validate=True)
        except binascii.Error as exc:
            raise _RefusedError("InvalidArgumentsError", "the payload is no base64") from exc
        if len(payload) > topics.MAX_PAYLOAD_BYTES:
            raise _RefusedError("InvalidArgumentsError", "the payload exceeds 128 KB")
        thing = self._settings.thing if self._settings.interpolate else ""
        if not allowed(
            self._configuration(component), MQTT_PROXY, f"{_MODEL}PublishToIoTCore", topic, thing
        ):
            raise _RefusedError(
                "UnauthorizedError",
                f"Principal {component} is not authorized to perform"
                f" {MQTT_PROXY}:{_MODEL}PublishToIoTCore on resource {topic}",
            )
        if not self._link.publish(topic, payload, int(body["qos"])):
            raise _RefusedError("ServiceError", "the spooler is full")
        return {}

    def _publish_locally(self, component: str, body: dict[str, Any]) -> dict[str, Any]:
        topic, message = str(body.get("topic") or ""), body.get("publishMessage") or {}
        if fault := topics.topic_fault(topic):
            raise _RefusedError("InvalidArgumentsError", fault)
        self._check_local(component, "PublishToTopic", topic)
        event = {
            kind: {**content, "context": {"topic": topic}} for kind, content in message.items()
        }
        with self._lock:
            listeners = [each for each in self._listeners if mqtt.topics.matches(each.topic, topic)]
        for each in listeners:
            model = f"{_MODEL}SubscriptionResponseMessage"
            each.send(answer(each.stream, model, event, last=False))
        return {}

    def _listen(
        self, component: str, operation: str, frame: Frame, body: dict[str, Any], send: Send
    ) -> None:
        topic = str(body.get("topic") or "")
        try:
            self._check_local(component, "SubscribeToTopic", topic)
        except _RefusedError as exc:
            send(error(frame.stream, _MODEL + exc.name, str(exc)))
            return
        with self._lock:
            self._listeners.append(
                _Watcher(component=component, stream=frame.stream, send=send, topic=topic)
            )
        send(answer(frame.stream, f"{operation}Response", {"topicName": topic}, last=False))

    def _check_local(self, component: str, operation: str, topic: str) -> None:
        thing = self._settings.thing if self._settings.interpolate else ""
        if not allowed(
            self._configuration(component), PUBSUB, f"{_MODEL}{operation}", topic, thing
        ):
            raise _RefusedError(
                "UnauthorizedError",
                f"Principal {component} is not authorized to perform"
                f" {PUBSUB}:{_MODEL}{operation} on resource {topic}",
            )

    def _update_state(self, component: str, body: dict[str, Any]) -> dict[str, Any]:
        state = _REPORTABLE.get(str(body.get("state")))
        service = self._kernel.services.get(component)
        if state is None or service is None:
            raise _RefusedError("InvalidArgumentsError", f"'{body.get('state')}' is no state")
        service.report(state)
        return {}

    def _get_configuration(self, component: str, body: dict[str, Any]) -> dict[str, Any]:
        name = str(body.get("componentName") or component)
        parts = [str(part) for part in body.get("keyPath") or ()]
        try:
            value = look_up(self._configuration(name), parts)
        except PointerError as exc:
            raise _RefusedError("ResourceNotFoundError", "Key not found") from exc
        wrapped = value if isinstance(value, Mapping) else {(parts or [""])[-1]: value}
        return {"componentName": name, "value": wrapped}

    def _update_configuration(self, component: str, body: dict[str, Any]) -> dict[str, Any]:
        over: Any = body.get("valueToMerge")
        if not isinstance(over, Mapping):
            raise _RefusedError("InvalidArgumentsError", "valueToMerge is no map")
        for part in reversed([str(part) for part in body.get("keyPath") or ()]):
            over = {part: over}
        components = dict(self._state.state.components)
        known = components[component]
        configuration = merged(known.configuration, over)
        components[component] = msgspec.structs.replace(known, configuration=configuration)
        self._state.change(components=components)
        self._kernel.reconfigured(components)
        return {}

    def _defer(self, component: str, body: dict[str, Any]) -> dict[str, Any]:
        wait_s = float(body.get("recheckAfterMs") or 0) / 1_000.0
        with self._lock:
            self._deferred[component] = time.monotonic() + wait_s
        return {}

    def _configuration(self, name: str) -> dict[str, Any]:
        component = self._state.state.components.get(name)
        if component is None:
            raise _RefusedError("ResourceNotFoundError", f"there is no component '{name}'")
        return component.configuration


_STREAMS = frozenset(
    {
        "SubscribeToComponentUpdates",
        "SubscribeToConfigurationUpdate",
        "SubscribeToValidateConfigurationUpdates",
    }
)
