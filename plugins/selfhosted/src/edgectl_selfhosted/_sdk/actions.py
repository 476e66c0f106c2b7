"""hawkBit's actions: every assignment of a set to a device that there was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote

from edgectl.api import AuthError, ProviderError, ThrottledError, UnreachableError
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import TARGETS
from edgectl_selfhosted._sdk.wire import ActionView

ACTIONS = "/rest/v1/actions"
CANCELED = frozenset({"canceling", "canceled"})


def release_actions(
    client: Client,
    application: str,
    release: int | None,
    *,
    keep: Callable[[ActionView], bool] = lambda _action: True,
) -> list[tuple[str, ActionView]]:
    """Return an application's assignments, each with its device; of one release or of all."""
    actions = _list(client, application, _of(application, release))
    return [(_device_of(action), action) for action in actions if keep(action)]


def being_canceled(client: Client, application: str, release: int) -> dict[str, ActionView]:
    """Return the devices that were asked to give a release up and have not answered yet.

    hawkBit before 1.1 can filter by an action's detailed status; from a server that cannot, all
    of the release's actions are read.
    """
    condition = fiql.both(_of(application, release), "detailstatus==canceling")
    try:
        found = list(_list(client, application, condition))
    except ProviderError as exc:
        if "rsql" not in exc.vendor_code.lower():
            raise
        found = list(_list(client, application, _of(application, release)))
    return {_device_of(a): a for a in found if a.detail_status.lower() == "canceling"}


def cancel(client: Client, device: str, action_id: int, *, force: bool = False) -> bool:
    """Ask a device to give an assignment up; whether there was still something to give up.

    Args:
        client: The server.
        device: Whose assignment.
        action_id: Which one.
        force: End one that was canceled without waiting for the device.
    """
    path = f"{TARGETS}/{quote(device, safe='')}/actions/{action_id}"
    what = f"cancel the assignment of '{device}'"
    try:
        client.command(what, "DELETE", path, params={"force": True} if force else None)
    except (AuthError, UnreachableError, ThrottledError):
        raise
    except ProviderError:
        return False  # it has ended meanwhile
    return True


def is_open(action: ActionView) -> bool:
    """Whether a device has still to finish it, and nobody called it off."""
    return action.status.lower() == "pending" and not is_canceled(action)


def is_canceled(action: ActionView) -> bool:
    """Whether somebody called it off."""
    return action.detail_status.lower() in CANCELED


def has_failed(action: ActionView) -> bool:
    """Whether the device said that it failed."""
    return action.detail_status.lower() == "error"


def _of(application: str, release: int | None) -> str:
    condition = fiql.equal("distributionset.name", application)
    if release is None:
        return condition
    return fiql.both(condition, fiql.equal("distributionset.version", str(release)))


def _list(client: Client, application: str, condition: str) -> Iterator[ActionView]:
    what = f"list the assignments of '{application}'"
    query = {"q": condition, "representation": "full", "sort": "id:ASC"}
    return client.pages(what, ACTIONS, ActionView, query)


def _device_of(action: ActionView) -> str:
    link = action.links.get("target")
    return "" if link is None else unquote(link.href.split("?")[0].rstrip("/").rsplit("/", 1)[-1])
