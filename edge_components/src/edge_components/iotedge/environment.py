"""Who this module is: what edgeAgent puts into the environment of each module's container.

Source: the IoT Edge runtime's own modules and SDKs (``IOTEDGE_*`` variables, module twins' ids).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, quote_plus

import msgspec

from edge_components.contract.errors import ContractError

API_VERSION = "2018-06-30"
WORKLOAD_VERSION = "2019-01-30"
MQTT_PORT = 8883
_AUTH_SCHEME = "sasToken"


class ModuleIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """A module, its device and its hub.

    Attributes:
        hub: The hub's host name: what tokens and the user name are about.
        gateway: Where edgeHub is, with a port where it is not the usual one.
        generation: Of the module's identity; a module that is made anew has another one.
        workload: Address of the workload API, ``unix:///…``.
        workload_version: Version of the workload API that the daemon speaks.
    """

    hub: str
    gateway: str
    device: str
    module: str
    generation: str
    workload: str
    workload_version: str = WORKLOAD_VERSION

    @property
    def client_id(self) -> str:
        """The MQTT client id of a module."""
        return f"{self.device}/{self.module}"

    @property
    def username(self) -> str:
        """The MQTT user name of a module."""
        kind = quote_plus("edgectl-edge-components")
        return (
            f"{self.hub}/{self.device}/{self.module}/"
            f"?api-version={API_VERSION}&DeviceClientType={kind}"
        )

    @property
    def resource(self) -> str:
        """What a token of this module is for."""
        device, module = quote(self.device, safe=""), quote(self.module, safe="")
        return f"{self.hub}/devices/{device}/modules/{module}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of edgeHub."""
        host, _, port = self.gateway.partition(":")
        return host, int(port) if port.isdecimal() else MQTT_PORT


def parse_environment(environ: Mapping[str, str]) -> ModuleIdentity:
    """Read the module's environment.

    Raises:
        ContractError: ``bad-config``: this is no module of IoT Edge, or signs in another way.
    """
    names = {
        "hub": "IOTEDGE_IOTHUBHOSTNAME",
        "gateway": "IOTEDGE_GATEWAYHOSTNAME",
        "device": "IOTEDGE_DEVICEID",
        "module": "IOTEDGE_MODULEID",
        "generation": "IOTEDGE_MODULEGENERATIONID",
        "workload": "IOTEDGE_WORKLOADURI",
    }
    missing = sorted(name for name in names.values() if not environ.get(name))
    if missing:
        raise ContractError(
            "bad-config",
            f"'{missing[0]}' is not set: this is no module of Azure IoT Edge, which sets it",
        )
    scheme = environ.get("IOTEDGE_AUTHSCHEME", _AUTH_SCHEME)
    if scheme.lower() != _AUTH_SCHEME.lower():
        raise ContractError("bad-config", f"'IOTEDGE_AUTHSCHEME' is '{scheme}', not 'sasToken'")
    found = {key: environ[name] for key, name in names.items()}
    if not found["workload"].startswith("unix://"):
        raise ContractError(
            "bad-config", f"'IOTEDGE_WORKLOADURI' is '{found['workload']}', not unix://…"
        )
    version = environ.get("IOTEDGE_APIVERSION") or WORKLOAD_VERSION
    return ModuleIdentity(**found, workload_version=version)
