"""``deploy``: assign a release's set to devices that were not given it yet.

A device that took the release and failed is not given it again: hawkBit takes the set off such a
device, but its own words and its feedback still say so.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgectl.api import (
    ConflictError,
    DeployRequest,
    DeployResult,
    NotFoundError,
    Reason,
    Release,
    State,
)
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.actions import being_canceled, cancel, has_failed, release_actions
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import Scope, check_known
from edgectl_selfhosted._sdk.publish import SETS, find_set
from edgectl_selfhosted._sdk.wire import AssignmentView
from edgectl_selfhosted.render import assignment_body

BATCH = 1000


def assign(client: Client, request: DeployRequest) -> DeployResult:
    """Assign the release to the named devices; those that have it already are left alone.

    Raises:
        NotFoundError: A device is not known, or the release was not packaged.
        ConflictError: A device vanished meanwhile.
    """
    release = request.release
    wanted = tuple(dict.fromkeys(request.devices))
    found = find_set(client, release.application, release.number)
    if found is None:
        raise NotFoundError(
            f"the server has no release {release.number} of '{release.application}'",
            hint="the `package` step makes it; run `edgectl deploy` again",
        )
    if not wanted:
        return DeployResult()
    scope = Scope(client, devices=wanted)
    check_known(scope, wanted)
    have = _had(client, scope, release) - _called_back(client, release, wanted)
    missing = tuple(device for device in wanted if device not in have)
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        what = f"give release {release.number} to {len(batch)} devices"
        path = f"{SETS}/{found.id}/assignedTargets"
        done = client.post(what, path, AssignmentView, assignment_body(batch))
        if done.assigned + done.already_assigned < len(batch):
            raise ConflictError(
                f"cannot {what}: the server took {done.assigned + done.already_assigned}",
                hint="a device was removed meanwhile; run `edgectl deploy` again",
            )
    return DeployResult(
        assigned=missing, unchanged=tuple(device for device in wanted if device in have)
    )


def _called_back(client: Client, release: Release, wanted: Iterable[str]) -> frozenset[str]:
    """Let go of devices that were asked to give the release up and have not answered yet.

    Only then can they be given it again.
    """
    canceling = being_canceled(client, release.application, release.number)
    again = frozenset(wanted) & canceling.keys()
    for device in sorted(again):
        cancel(client, device, canceling[device].id, force=True)
    return again


def _had(client: Client, scope: Scope, release: Release) -> frozenset[str]:
    """Return the devices that were given the release and were not called back from it."""
    application, number = release.application, release.number
    assigned = scope.find(fiql.release_is(application, number))
    about = fiql.both(
        fiql.equal("attribute.edgectl_app", application),
        fiql.attribute("edgectl_release", str(number)),
    )
    settled = [state.value for state in State if state.is_settled]
    finished = scope.find(fiql.both(about, fiql.one_of("attribute.edgectl_state", settled)))
    if finished.keys() - assigned.keys():
        canceled = fiql.attribute("edgectl_reason", Reason.CANCELED.value)
        for device in scope.find(fiql.both(about, canceled)):
            finished.pop(device, None)
    errored = scope.find("updatestatus==error")
    if errored.keys() - finished.keys():
        actions = release_actions(client, application, number, keep=has_failed)
        errored = {device: errored[device] for device, _action in actions if device in errored}
    return frozenset({*assigned, *finished, *errored})
