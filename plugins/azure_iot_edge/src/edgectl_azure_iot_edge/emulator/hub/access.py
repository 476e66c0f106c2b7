"""Who may call what: shared access policies, devices' own keys, and tokens of Microsoft Entra ID.

A policy's permissions are RegistryRead, RegistryWrite, ServiceConnect and DeviceConnect. A client
of Entra ID needs the data action of the operation. An edge device may read and write the modules of
its own with its own key, as its identity service does.

Source: learn.microsoft.com/azure/iot-hub, "Control access with shared access signatures" and
"Control access with Microsoft Entra ID" (data actions by operation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator import sas
from edgectl_azure_iot_edge.emulator.directory import Directory, TokenError
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.identity import EDGE_HUB, Identity, new_key

AUDIENCE = "https://iothubs.azure.net"
READ, WRITE, SERVICE, DEVICE = "RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"
ACTIONS = "Microsoft.Devices/IotHubs/"

PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    "iothubowner": (READ, WRITE, SERVICE, DEVICE),
    "service": (SERVICE,),
    "device": (DEVICE,),
    "registryRead": (READ,),
    "registryReadWrite": (READ, WRITE),
}


@dataclass
class Policy:
    """A shared access policy of the hub."""

    name: str
    permissions: tuple[str, ...]
    primary: str
    secondary: str


def new_policies() -> dict[str, Policy]:
    """Return the policies that every new hub has, with new keys."""
    return {
        name: Policy(name=name, permissions=rights, primary=new_key(), secondary=new_key())
        for name, rights in PERMISSIONS.items()
    }


class Need(Record, frozen=True, kw_only=True):
    """What an operation asks of its caller.

    Attributes:
        permission: Of a shared access policy.
        action: Of a role, after ``Microsoft.Devices/IotHubs/``.
        resource: Path below the host that a signature has to cover.
        device_id: Whose own key may do it too; "" nobody's.
    """

    permission: str
    action: str
    resource: str
    device_id: str = ""


class Caller(Record, frozen=True, kw_only=True):
    """Who calls.

    Attributes:
        name: Policy, client id or device id.
        device_id: The device that calls with its own key, else "".
    """

    name: str
    device_id: str = ""


def unauthorized(message: str) -> HubError:
    """Return the hub's refusal of a caller."""
    return HubError("IotHubUnauthorizedAccess", message)


def check_service(
    header: str | None,
    need: Need,
    *,
    policies: Mapping[str, Policy],
    directory: Directory,
    hosts: Iterable[str],
    now: datetime,
    device: Identity | None,
) -> Caller:
    """Decide whether a request to the service API may pass.

    Args:
        header: Of the request, ``Authorization``.
        need: What it takes.
        policies: The hub's.
        directory: The tenant.
        hosts: Names that a signature may be for.
        now: The account's time.
        device: The identity of ``need.device_id``, if there is one.

    Raises:
        HubError: ``IotHubUnauthorizedAccess``.
    """
    if not header:
        raise unauthorized("Authorization header missing")
    if header.startswith("Bearer "):
        return _check_bearer(header.removeprefix("Bearer "), need, directory)
    if not header.startswith(sas.SCHEME):
        raise unauthorized("Unauthorized")
    try:
        token = sas.parse(header)
        expired = token.is_expired(now.timestamp())
    except sas.SasError as exc:
        raise unauthorized("Unauthorized") from exc
    if expired:
        raise unauthorized("The specified SAS token is expired")
    if not any(token.covers(f"{host}{need.resource}") for host in hosts):
        raise unauthorized("Unauthorized")
    if not token.policy:
        return _check_own_key(token, need, device)
    policy = policies.get(token.policy)
    if policy is None or not _signed(token, (policy.primary, policy.secondary)):
        raise unauthorized("Unauthorized")
    if need.permission not in policy.permissions:
        raise unauthorized(
            f"Authorization rule '{policy.name}' does not allow access for '{need.permission}'"
        )
    return Caller(name=policy.name)


def _check_bearer(text: str, need: Need, directory: Directory) -> Caller:
    try:
        token = directory.check(text, AUDIENCE)
    except TokenError as exc:
        raise unauthorized("Unauthorized") from exc
    if not token.allows(f"{ACTIONS}{need.action}"):
        raise HubError(
            "IotHubUnauthorizedAccess",
            f"Principal {token.client_id} is not authorized for {ACTIONS}{need.action} due to no "
            "assigned permissions",
        )
    return Caller(name=token.client_id)


def _check_own_key(token: sas.SasToken, need: Need, device: Identity | None) -> Caller:
    if device is None or device.status != "enabled" or not _signed(token, device.keys):
        raise unauthorized("Unauthorized")
    return Caller(name=device.device_id, device_id=need.device_id)


def check_connection(
    password: str,
    identity: Identity,
    *,
    family: Mapping[str | None, Identity],
    policies: Mapping[str, Policy],
    hosts: Iterable[str],
    now: datetime,
) -> float:
    """Decide whether a device or module may connect over MQTT.

    A module's own key does, and so does its edge device's or its edgeHub's, which connect modules
    on their behalf, and a policy with DeviceConnect.

    Args:
        password: The token.
        identity: Who says to connect.
        family: The device and its modules by module id; None is the device.
        policies: The hub's.
        hosts: Names that a token may be for.
        now: The account's time.

    Returns:
        When the token is over, in seconds since 1970.

    Raises:
        HubError: ``IotHubUnauthorized``.
    """
    refused = HubError("IotHubUnauthorized", "Authentication failed for this device")
    device = family[None]
    if identity.status != "enabled" or device.status != "enabled":
        raise refused
    try:
        token = sas.parse(password)
        expired = token.is_expired(now.timestamp())
    except sas.SasError as exc:
        raise refused from exc
    below = [f"{host}/devices/{device.device_id}" for host in hosts]
    pairs = _own_and_others(identity, family, below)
    if token.policy:
        policy = policies.get(token.policy)
        allowed = policy is not None and DEVICE in policy.permissions
        pairs = [(below, (policy.primary, policy.secondary))] if policy and allowed else []
    if expired or not any(_good(token, places, keys) for places, keys in pairs):
        raise refused
    return float(token.expiry)


def _own_and_others(
    identity: Identity, family: Mapping[str | None, Identity], below: list[str]
) -> list[tuple[list[str], tuple[str | None, ...]]]:
    """Return which keys connect an identity, each for the resources that it may sign."""
    device = family[None]
    if identity.module_id is None:
        return [(below, identity.keys)]
    own = [f"{place}/modules/{identity.module_id}" for place in below]
    pairs: list[tuple[list[str], tuple[str | None, ...]]] = [(own, identity.keys)]
    if device.iot_edge:
        behalf = [f"{place}/modules/{EDGE_HUB}" for place in below]
        pairs += [(own, device.keys), (behalf, family[EDGE_HUB].keys)]
    return pairs


def _good(token: sas.SasToken, places: Iterable[str], keys: Iterable[str | None]) -> bool:
    return any(token.covers(place) for place in places) and _signed(token, keys)


def _signed(token: sas.SasToken, keys: Iterable[str | None]) -> bool:
    return any(token.is_signed_by(key) for key in keys)
