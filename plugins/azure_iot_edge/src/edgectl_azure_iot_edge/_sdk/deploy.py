"""``deploy``: make the release's layered deployment, and tag who is given it.

The deployment is for whom our tag names, so making it changes nobody; writing a device's tag
gives it the release. Waves are nothing but tags. A tag is written only where the twin is as it was
read (If-Match), so that of two operators one is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from edgectl.api import ConflictError, DeployRequest, DeployResult, NotFoundError
from edgectl_azure_iot_edge._sdk import layers
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.fleet import Fleet
from edgectl_azure_iot_edge._sdk.functions import functions_known
from edgectl_azure_iot_edge._sdk.history import find_release
from edgectl_azure_iot_edge._sdk.hub import list_configurations, patch_twin, read_twin
from edgectl_azure_iot_edge._sdk.images import release_image
from edgectl_azure_iot_edge._sdk.members import EdgeDevice, read_device
from edgectl_azure_iot_edge.createoptions import check_one_kind
from edgectl_azure_iot_edge.names import Given, configuration_id, given_patch
from edgectl_azure_iot_edge.render import Layer, configuration

TRIES = 5
"""How often a tag is written anew because somebody wrote the twin meanwhile."""


def deploy(account: Account, request: DeployRequest) -> DeployResult:
    """Give the release to the named devices.

    Raises:
        NotFoundError: A device is not in the target, or the release was not packaged.
        ConflictError: Somebody gave a device a newer release, or the deployment of this name in
            the hub is another.
    """
    if not request.devices:
        return DeployResult()
    fleet = account.fleet(request.target, request.release.application)
    wanted = tuple(dict.fromkeys(request.devices))
    there = fleet.members.find(wanted)
    check_known(request, there)
    number = request.release.number
    missing = [one for one in there.values() if not _has(fleet, one, number)]
    if missing:
        ensure_layer(account, fleet, request, there)
        fleet.hub.at_once(lambda device: give(fleet, device, number), missing)
    given = {device.id for device in missing}
    return DeployResult(
        assigned=tuple(device for device in wanted if device in given),
        unchanged=tuple(device for device in wanted if device not in given),
    )


def check_known(request: DeployRequest, there: Mapping[str, EdgeDevice]) -> None:
    """Check that every device is in the target.

    Raises:
        NotFoundError: One is not.
    """
    missing = [device for device in request.devices if device not in there]
    if missing:
        names = ", ".join(f"'{device}'" for device in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise NotFoundError(
            f"target '{request.target.name}' has no {names}{more}",
            hint="`edgectl devices list` shows a target's devices, `devices add` makes one",
        )


def ensure_layer(
    account: Account, fleet: Fleet, request: DeployRequest, devices: Mapping[str, EdgeDevice]
) -> None:
    """See that the release has its deployment, and collect those that nobody needs.

    Raises:
        NotFoundError: The release was not packaged.
        ConflictError: The deployment of this name in the hub is another.
    """
    number = request.release.number
    if fleet.has_layer(number):
        return
    placed = find_release(account, fleet.application, number)
    if placed.package != request.release.package:
        raise ConflictError(
            f"the registry's release {number} of '{fleet.application}' holds another package",
            hint="another operator published that number; deploy again to take the next one",
        )
    hardware = request.target.hardware
    check_one_kind(
        fleet.target.name, {device.hardware or hardware or "": 1 for device in devices.values()}
    )
    name = configuration_id(fleet.application, fleet.target.name, number)
    there = layers.read(account.hub, name)
    present = None if there is None else there[0]
    layer = Layer(
        application=fleet.application,
        target=fleet.target.name,
        hardware=hardware,
        number=number,
        package=placed.package,
        repository=account.repository(fleet.application),
        artifact=placed.digest,
        image=release_image(account.config, account.repository(fleet.application), number),
        functions=functions_known(account.config, request.package.layout, placed.package, present),
        baked=account.config.runtime.bake,
    )
    wanted = configuration(account.config, layer, fleet.selector)
    if present is None:
        collect(fleet, number)  # first, so that there is room
    layers.ensure(account.hub, wanted)
    fleet.note_layer(number)


def collect(fleet: Fleet, newest: int) -> tuple[int, ...]:
    """Remove deployments of earlier releases that no device carries or would be given back."""
    listed = list_configurations(fleet.hub)
    there = layers.ours(listed, fleet.application, fleet.target.name)
    if len(there) <= 2:
        return ()
    carried: set[int] = set()
    for device in fleet.members.all().values():
        given = fleet.given(device)
        carried |= {given.release, given.before}
    gone = layers.to_collect(there.keys(), carried, newest=newest)
    for number in gone:
        layers.remove(fleet.hub, there[number])
    return tuple(gone)


def give(fleet: Fleet, device: EdgeDevice, number: int) -> None:
    """Write a device's tag.

    Raises:
        ConflictError: Somebody gave it a newer release, or keeps writing its twin.
        NotFoundError: It is not there any more.
    """
    present = device
    for turn in range(TRIES):
        given = fleet.given(present)
        if given.release > number:
            raise ConflictError(
                f"'{device.id}' was given release {given.release} meanwhile, which is newer than "
                f"release {number}"
            )
        if _has(fleet, present, number):
            return
        wanted = Given(
            release=number,
            before=given.release,
            target=fleet.target.name,
            at=float(int(time.time())),
        )
        try:
            write_given(fleet, present, wanted)
        except ConflictError:
            if turn == TRIES - 1:
                raise
            present = reread(fleet, device.id)
        else:
            return


def write_given(fleet: Fleet, device: EdgeDevice, given: Given | None) -> None:
    """Write or take away a device's tag, if its twin is as it was read.

    Raises:
        ConflictError: It is not.
    """
    what = f"take the release from '{device.id}'"
    if given is not None:
        what = f"give release {given.release} to '{device.id}'"
    patch: dict[str, Any] = given_patch(fleet.application, given)
    answer = patch_twin(fleet.hub, device.id, patch, what, etag=device.etag or "*")
    fleet.note(device.id, given, answer.etag)


def reread(fleet: Fleet, device: str) -> EdgeDevice:
    """Return a device as its twin is now.

    Raises:
        NotFoundError: It is not there any more.
    """
    found = read_twin(fleet.hub, device)
    if found is None:
        raise NotFoundError(f"device '{device}' is not in the hub any more")
    return read_device({**found.document, "etag": found.etag})


def _has(fleet: Fleet, device: EdgeDevice, number: int) -> bool:
    given = fleet.given(device)
    return given.release == number and given.target == fleet.target.name
