"""``deploy``: assign a release's set to devices that do not have it yet."""

from __future__ import annotations

from edgectl.api import ConflictError, DeployRequest, DeployResult, NotFoundError
from edgectl_selfhosted import fiql
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
    have = scope.find(fiql.release_is(release.application, release.number))
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
