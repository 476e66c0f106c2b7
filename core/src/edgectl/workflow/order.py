"""Which target begins when: those that come after others wait for them, and for the gate between.

A target that comes after others begins when they are healthy with the release, have stayed so for
the gate's soak, and an operator has approved where one has to. It does not begin when one of them
failed. Targets that others come after may have been deployed to by an earlier command.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable

from edge_components.contract.state import State
from edgectl.errors import PlanError
from edgectl.provider import Provider
from edgectl.records import Target
from edgectl.requests import InventoryRequest, ObserveRequest

_LOOK_S = 0.2


class NotBegunError(PlanError):
    """A target did not begin, because of a target before it."""

    code = "not-begun"


class Turns:
    """Lets targets of one command wait for each other.

    Args:
        targets: All of the command.
        rest: Sleeps; raises when the command is interrupted.
    """

    def __init__(self, targets: Iterable[str], rest: Callable[[float], None]) -> None:
        self._ended = {name: threading.Event() for name in targets}
        self._healthy: dict[str, bool] = {}
        self._rest = rest

    def end(self, name: str, *, healthy: bool) -> None:
        """Say that a target has come to its end."""
        self._healthy[name] = healthy
        self._ended[name].set()

    def await_others(self, target: Target) -> None:
        """Wait for those of the command that the target comes after.

        Raises:
            NotBegunError: One of them did not become healthy.
        """
        for name in target.after:
            ended = self._ended.get(name)
            if ended is None:
                continue
            while not ended.is_set():
                self._rest(_LOOK_S)
            if not self._healthy[name]:
                raise NotBegunError(
                    f"target '{target.name}' comes after '{name}', which is not healthy"
                )


def check_gate(
    provider: Provider, before: Target, target: Target, application: str, release: int
) -> None:
    """Check that all devices of a target are healthy with a release.

    Args:
        provider: Of the target before.
        before: The target before.
        target: The target that comes after it.
        application: What is deployed.
        release: Its number.

    Raises:
        NotBegunError: A device is not; the message counts them.
    """
    request = ObserveRequest(target=before, application=application, release=release)
    states = {status.device: status.state for status in provider.observe(request)}
    devices = [device.id for device in provider.inventory(InventoryRequest(target=before))]
    missing = [device for device in devices if states.get(device) is not State.HEALTHY]
    if missing:
        raise NotBegunError(
            f"target '{target.name}' comes after '{before.name}', where {len(missing)} of "
            f"{len(devices)} devices are not healthy with release {release}",
            hint=f"`edgectl deploy -t {before.name} -t {target.name}` deploys to both in order",
        )


def needs_word(target: Target, approved: Collection[str]) -> bool:
    """Whether an operator has not said yet that the target may begin."""
    return target.needs_approval and target.name not in approved
