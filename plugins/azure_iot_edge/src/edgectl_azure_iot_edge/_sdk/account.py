"""What hooks work with: the hub, the registry's repository, and what is known of targets."""

from __future__ import annotations

import os
import threading

import msgspec

from edgectl.api import ProjectError, Target
from edgectl_azure_iot_edge._sdk.fleet import Fleet
from edgectl_azure_iot_edge._sdk.hub import CONNECTION_VARIABLE, Hub, connection_of
from edgectl_azure_iot_edge._sdk.members import Members
from edgectl_azure_iot_edge._sdk.pace import Pace
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.limits import documented_rates
from edgectl_azure_iot_edge.names import repository


class Account:
    """The part of a subscription that a project uses.

    Args:
        config: ``providers.azure``.
        pace: Shared by everything that calls the same hub.
    """

    def __init__(self, config: AzureConfig, pace: Pace) -> None:
        self.config = config
        self.hub = Hub(config, pace, connection_of(config))
        self._lock = threading.Lock()
        self._members: dict[bytes, Members] = {}
        self._fleets: dict[tuple[bytes, str], Fleet] = {}

    def members(self, target: Target) -> Members:
        """Return what is known of a target's devices.

        Raises:
            ProjectError: The target's selector cannot be read.
        """
        key = msgspec.json.encode(target)
        with self._lock:
            if key not in self._members:
                self._members[key] = Members(self.hub, target)
            return self._members[key]

    def fleet(self, target: Target, application: str) -> Fleet:
        """Return what is known of a target for an application.

        Raises:
            ProjectError: The target's selector cannot be read.
        """
        members = self.members(target)
        key = (msgspec.json.encode(target), application)
        with self._lock:
            if key not in self._fleets:
                self._fleets[key] = Fleet(self.hub, members, application)
            return self._fleets[key]

    def repository(self, application: str) -> str:
        """Return where an application's packages and releases lie.

        Raises:
            ProjectError: No registry is set.
        """
        if not self.config.registry:
            raise ProjectError(
                "providers.azure.registry is not set: devices fetch packages from a registry",
                hint="set it to the host of a container registry, for example NAME.azurecr.io",
            )
        return repository(self.config.registry, self.config.prefix, application)


_LOCK = threading.Lock()
_ACCOUNTS: dict[bytes, Account] = {}
_PACES: dict[str, Pace] = {}


def shared_account(config: AzureConfig) -> Account:
    """Return the account; it is opened once, and shared by all threads.

    Raises:
        AuthError: IOTHUB_CONNECTION_STRING cannot be read.
        ProjectError: It is of another hub.
    """
    secret = os.environ.get(CONNECTION_VARIABLE, "")
    key = msgspec.json.encode((config, secret))
    with _LOCK:
        if key not in _ACCOUNTS:
            place = secret or config.hub_host
            pace = _PACES.setdefault(place, Pace(documented_rates(config.tier, config.units)))
            _ACCOUNTS[key] = Account(config, pace)
        return _ACCOUNTS[key]
