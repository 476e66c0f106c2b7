"""``withdraw``: cancel what devices have not finished.

hawkBit can take back an assignment that is still open; it has no way to remove what a device has
installed. Asked to remove an application, this cancels all of its open assignments, and the
devices that run it keep running it; progress says how many those are.
"""

from __future__ import annotations

from collections.abc import Callable

from edgectl.api import WithdrawRequest, WithdrawResult
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.actions import cancel, is_open, release_actions
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import Scope


def withdraw(
    client: Client, request: WithdrawRequest, progress: Callable[[str], None]
) -> WithdrawResult:
    """Cancel the open assignments of a release, or of the whole application.

    Returns the devices whose assignment was canceled now; those that were being canceled
    already are left alone. A device that is away hears of it when it comes back.
    """
    actions = release_actions(client, request.application, request.release, keep=is_open)
    scope = Scope(client, fiql.selector_query(request.target), request.devices)
    devices = scope.find() if actions else {}
    canceled = set()
    for device, action in actions:
        if device in devices and cancel(client, device, action.id):
            canceled.add(device)
    if request.release is None:
        _say_what_stays(scope, request.application, progress)
    return WithdrawResult(devices=tuple(sorted(canceled)))


def _say_what_stays(scope: Scope, application: str, progress: Callable[[str], None]) -> None:
    running = scope.find(fiql.equal("installedds.name", application))
    if running:
        progress(
            f"{len(running)} devices keep running '{application}': a hawkBit server cannot remove "
            "what is installed; stop the agent there, or retire the device"
        )
