"""The hub as a room of the account: who may call, how often, and which operation answers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

import msgspec
from werkzeug.wrappers import Request, Response

from edgectl_azure_iot_edge.emulator.hub import errors
from edgectl_azure_iot_edge.emulator.hub.access import Caller, Need, check_service
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.emulator.hub.mqtt.server import DeviceServer
from edgectl_azure_iot_edge.emulator.hub.operations import Operation, find
from edgectl_azure_iot_edge.emulator.hub.service import Service
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.rooms import AzureFault, Controls
from edgectl_azure_iot_edge.emulator.site import Site

API_VERSIONS = frozenset(
    {
        "2018-06-30",
        "2019-10-01",
        "2020-03-13",
        "2020-05-31-preview",
        "2020-09-30",
        "2021-04-12",
        "2024-03-31",
    }
)


class HubRoom:
    """IoT Hub: the service API on the web server, devices on a port of their own.

    Args:
        site: The account.
        settings: What hub it is; ``functools.partial(HubRoom, settings=…)`` gives others.
    """

    name = "hub"

    def __init__(self, site: Site, settings: HubSettings | None = None) -> None:
        self._site = site
        self.settings_of_hub = settings or HubSettings()
        self.hub = Hub(site, self.settings_of_hub)
        self.devices = DeviceServer(self.hub, site, self.settings_of_hub)
        self._service = Service(self.hub)

    def start(self) -> None:
        """Open the port for devices and begin the background work."""
        self.hub.start()
        self.devices.start()

    def stop(self) -> None:
        """End both."""
        self.devices.stop()
        self.hub.stop()

    def settings(self) -> Mapping[str, str]:
        """Return the connection string of the hub's owner."""
        return {"IOTHUB_CONNECTION_STRING": self.connection_string("iothubowner")}

    def connection_string(self, policy: str) -> str:
        """Return the connection string of a shared access policy."""
        host = self._site.url.removeprefix("https://")
        key = self.hub.policies[policy].primary
        return f"HostName={host};SharedAccessKeyName={policy};SharedAccessKey={key}"

    def controls(self) -> Controls:
        """Rates, the hub's work on demand, and devices that lose their connection."""
        return {
            ("GET", "rates"): lambda _: self.hub.rates.current,
            ("PUT", "rates"): self._set_rates,
            ("GET", "policies"): lambda _: {
                n: self.connection_string(n) for n in self.hub.policies
            },
            ("POST", "assign"): lambda _: self.hub.background.assign(),
            ("POST", "count"): lambda _: self.hub.background.count(),
            ("POST", "disconnect"): self._disconnect,
            ("GET", "events"): lambda _: [
                self._site.events.state(n) for n in range(self._site.events.partitions)
            ],
        }

    def serves(self, request: Request) -> bool:
        """Take what nobody else does."""
        del request
        return True

    def operation(self, request: Request) -> str:
        """Name the operation as it is counted."""
        found = find(request.method, request.path)
        return found[0].name if found else "Unknown"

    def answer(self, request: Request) -> Response:
        """Answer as the service does."""
        started = time.monotonic()
        try:
            answer = self._answer(request)
        except HubError as exc:
            if exc.status == 429:
                self._site.calls.count_throttled(self.name, self.operation(request))
            answer = errors.render(exc, self._site.now())
        answer.headers["iothub-elapsed-ms"] = str(int((time.monotonic() - started) * 1000))
        answer.headers["x-ms-request-id"] = str(uuid.uuid4())
        answer.headers.setdefault("Vary", "Origin")
        return answer

    def refusal(self, fault: AzureFault) -> Response:
        """Word a fault as the hub's error."""
        return errors.render(HubError(fault.code, fault.message, status=fault.status))

    def _answer(self, request: Request) -> Response:
        found = find(request.method, request.path)
        if found is None:
            raise HubError("GenericNotFound", f"nothing at '{request.path}'", status=404)
        operation, names = found
        version = request.args.get("api-version", "")
        if version not in API_VERSIONS:
            said = f"The api-version '{version}' is not supported"
            raise HubError("InvalidProtocolVersion", said)
        caller = self._caller(request, operation, names)
        if operation.standard_only and self.settings_of_hub.is_basic:
            raise HubError(
                "OperationNotAvailableInCurrentTier",
                "Not allowed in the current tier of the IoT Hub. To use this feature, upgrade the "
                "hub to the Standard tier.",
            )
        if not caller.device_id:
            self._site.calls.count("rate", operation.rate)
            self.hub.rates.take(operation.rate, operation.throttle)
        return self._service.answer(operation, names, request, caller)

    def _caller(self, request: Request, operation: Operation, names: Mapping[str, str]) -> Caller:
        own = names["id"] if operation.by_device else ""
        device = self.hub.registry.devices.get(own)
        need = Need(
            permission=operation.permission,
            action=operation.action,
            resource=request.path,
            device_id=own,
        )
        return check_service(
            request.headers.get("Authorization"),
            need,
            policies=self.hub.policies,
            directory=self._site.directory,
            hosts=self.hub.hosts(),
            now=self._site.now(),
            device=device.identity if device else None,
        )

    def _set_rates(self, body: bytes) -> object:
        self.hub.rates.replace(
            {**self.hub.rates.current, **msgspec.json.decode(body, type=dict[str, float])}
        )
        return self.hub.rates.current

    def _disconnect(self, body: bytes) -> object:
        wanted = msgspec.json.decode(body, type=dict[str, str])
        return self.devices.disconnect(wanted["device"], wanted.get("module"))
