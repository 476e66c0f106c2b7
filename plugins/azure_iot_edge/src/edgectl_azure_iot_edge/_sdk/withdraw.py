"""``withdraw``: take a release back from who has not begun with it, or remove the application.

A device's tag goes back to the release that it was given before, or away where there was none; the
hub then merges the older deployment, or takes our module from the device. What a device is busy
with or has finished is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from edgectl.api import ConflictError, NotFoundError, WithdrawRequest, WithdrawResult
from edgectl_azure_iot_edge._sdk import layers
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.deploy import TRIES, give, reread, write_given
from edgectl_azure_iot_edge._sdk.fleet import Fleet
from edgectl_azure_iot_edge._sdk.hub import list_configurations
from edgectl_azure_iot_edge._sdk.members import EdgeDevice
from edgectl_azure_iot_edge.names import Given, configuration_id
from edgectl_azure_iot_edge.states import has_begun


def withdraw(account: Account, request: WithdrawRequest) -> WithdrawResult:
    """Take a release, or with ``release`` None the application, from devices of the target."""
    fleet = account.fleet(request.target, request.application)
    wanted = None if request.devices is None else frozenset(request.devices)
    there = [
        device
        for device in fleet.members.all(fresh=True).values()
        if wanted is None or device.id in wanted
    ]
    if request.release is None:
        return WithdrawResult(devices=_remove(fleet, there, whole=wanted is None))
    return WithdrawResult(devices=_take_back(fleet, there, request.release))


def _take_back(fleet: Fleet, there: Iterable[EdgeDevice], release: int) -> tuple[str, ...]:
    given = {device.id: device for device in there if fleet.given(device).release == release}
    if not given:
        return ()
    words = fleet.words(given, all_of_them=True)
    open_ = [device for name, device in given.items() if not has_begun(words[name].report, release)]
    kept = _kept(fleet, {fleet.given(device).before for device in open_})
    back = [device for device in open_ if fleet.given(device).before in kept]
    done = {d for d in fleet.hub.at_once(lambda one: _give_back(fleet, one, release), back) if d}
    # Looked at anew: a device may have begun between the look and the word; it keeps its release.
    words = fleet.words(done, all_of_them=True)
    begun = [device for device in sorted(done) if has_begun(words[device].report, release)]
    fleet.hub.at_once(lambda device: give(fleet, reread(fleet, device), release), begun)
    return tuple(sorted(done - set(begun)))


def _kept(fleet: Fleet, releases: Iterable[int]) -> set[int]:
    """Return which earlier releases still have a deployment that devices can go back to."""
    found = {0}
    for number in set(releases) - {0}:
        name = configuration_id(fleet.application, fleet.target.name, number)
        if layers.read(fleet.hub, name) is not None:
            found.add(number)
    return found


def _give_back(fleet: Fleet, device: EdgeDevice, release: int) -> str:
    """Write the tag that a device had before; its id, or "" where it has gone on meanwhile."""
    present = device
    for _ in range(TRIES):
        given = fleet.given(present)
        if given.release != release:
            return ""
        before = None
        if given.before:
            before = Given(
                release=given.before, target=fleet.target.name, at=float(int(time.time()))
            )
        try:
            write_given(fleet, present, before)
        except ConflictError:
            present = reread(fleet, device.id)
        except NotFoundError:
            return ""
        else:
            return device.id
    return ""


def _remove(fleet: Fleet, there: list[EdgeDevice], *, whole: bool) -> tuple[str, ...]:
    had = [device for device in there if fleet.given(device).release]

    def take(device: EdgeDevice) -> str:
        present = device
        for turn in range(TRIES):
            try:
                write_given(fleet, present, None)
            except ConflictError:
                if turn == TRIES - 1:
                    raise
                present = reread(fleet, device.id)
            except NotFoundError:
                return ""
            else:
                break
        return device.id

    done = fleet.hub.at_once(take, had)
    if had and whole:
        for document in layers.ours(
            list_configurations(fleet.hub), fleet.application, fleet.target.name
        ).values():
            layers.remove(fleet.hub, document)
        fleet.forget_layers()
    return tuple(sorted(device for device in done if device))
