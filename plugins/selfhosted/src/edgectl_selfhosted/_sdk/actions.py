"""hawkBit's actions: every assignment of a set to a device that there was."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
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
    condition = fiql.equal("distributionset.name", application)
    if release is not None:
        condition = fiql.both(condition, fiql.equal("distributionset.version", str(release)))
    actions = client.pages(
        f"list the assignments of '{application}'",
        ACTIONS,
        ActionView,
        {"q": condition, "representation": "full", "sort": "id:ASC"},
    )
    return [(_device_of(action), action) for action in actions if keep(action)]


def is_open(action: ActionView) -> bool:
    """Whether a device has still to finish it, and nobody called it off."""
    return action.status.lower() == "pending" and not is_canceled(action)


def is_canceled(action: ActionView) -> bool:
    """Whether somebody called it off."""
    return action.detail_status.lower() in CANCELED


def has_failed(action: ActionView) -> bool:
    """Whether the device said that it failed."""
    return action.detail_status.lower() == "error"


def _device_of(action: ActionView) -> str:
    link = action.links.get("target")
    return "" if link is None else unquote(link.href.split("?")[0].rstrip("/").rsplit("/", 1)[-1])
