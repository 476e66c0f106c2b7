"""The ``iot-data`` API: shadows and Publish over HTTP, with the same store as MQTT."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgectl_aws_greengrass.emulator.callers import Caller
from edgectl_aws_greengrass.emulator.front import Handler
from edgectl_aws_greengrass.emulator.iot.shadows import ShadowStore
from edgectl_aws_greengrass.emulator.paging import page
from edgectl_aws_greengrass.emulator.wire import Params

MAX_PAYLOAD = 128 * 1024


def handlers(
    shadows: ShadowStore, publish: Callable[[str, bytes], None]
) -> Mapping[tuple[str, str], Handler]:
    """Return the operations.

    Args:
        shadows: Where shadows are.
        publish: Brings a message to rules and subscribers.
    """

    def get(params: Params, caller: Caller) -> Params:
        del caller
        return {"payload": shadows.get(params["thingName"], params.get("shadowName"))}

    def update(params: Params, caller: Caller) -> Params:
        del caller
        name = params.get("shadowName")
        return {"payload": shadows.update(params["thingName"], name, params["payload"])}

    def delete(params: Params, caller: Caller) -> Params:
        del caller
        return {"payload": shadows.delete(params["thingName"], params.get("shadowName"))}

    def names(params: Params, caller: Caller) -> Params:
        del caller
        sized = params | {"maxResults": params.get("pageSize")}
        error = "InvalidRequestException"
        listed, more = page(shadows.names(params["thingName"]), sized, default=25, error=error)
        return {"results": listed, **more}

    def publish_message(params: Params, caller: Caller) -> Params:
        del caller
        publish(params["topic"], params.get("payload") or b"")
        return {}

    return {
        ("iot-data", "GetThingShadow"): get,
        ("iot-data", "UpdateThingShadow"): update,
        ("iot-data", "DeleteThingShadow"): delete,
        ("iot-data", "ListNamedShadowsForThing"): names,
        ("iot-data", "Publish"): publish_message,
    }
