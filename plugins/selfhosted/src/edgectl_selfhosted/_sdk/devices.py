"""Finding devices: pages of targets, narrowed to a selector and, where asked, to named devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgectl.api import NotFoundError
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.wire import TargetView
from edgectl_selfhosted.states import Contact

TARGETS = "/rest/v1/targets"
BY_NAME_UP_TO = 2000


class Scope:
    """Some devices of the server, and how to ask about them.

    Few named devices are asked for by name, many are listed by the selector and picked out here;
    so the calls grow with pages.

    Args:
        client: The server.
        selector: A FIQL query, or "" for every device.
        devices: Only these, or None for all that the selector finds.
    """

    def __init__(
        self, client: Client, selector: str = "", devices: Iterable[str] | None = None
    ) -> None:
        self._client = client
        self._selector = selector
        self._only = None if devices is None else frozenset(devices)

    def find(self, condition: str = "", *, what: str = "list the devices") -> dict[str, TargetView]:
        """Return the devices for which a condition holds, by name in a stable order."""
        found = {}
        for query in self._queries(condition):
            for target in targets(self._client, query, what=what):
                if self._only is None or target.controller_id in self._only:
                    found[target.controller_id] = target
        return dict(sorted(found.items()))

    def _queries(self, condition: str) -> Iterator[str]:
        if self._only is None or len(self._only) > BY_NAME_UP_TO:
            yield fiql.both(self._selector, condition)
            return
        for chunk in fiql.device_chunks(sorted(self._only)):
            yield fiql.both(self._selector, chunk, condition)


def targets(client: Client, query: str, *, what: str = "list the devices") -> Iterator[TargetView]:
    """Yield the targets that a query finds, in the order of their names."""
    params = {"sort": "controllerid:ASC"} | ({"q": query} if query else {})
    yield from client.pages(what, TARGETS, TargetView, params)


def check_known(scope: Scope, devices: Iterable[str]) -> None:
    """Check that the server knows every one of these devices.

    Raises:
        NotFoundError: It does not; the message names some.
    """
    known = scope.find()
    missing = [device for device in devices if device not in known]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise NotFoundError(
            f"the server does not know {names}{more}",
            hint="`edgectl devices list` shows a target's devices, `devices add` makes one",
        )


def contact_of(target: TargetView) -> Contact:
    """Return what the server knows of a device, times in seconds."""
    return Contact(
        device=target.controller_id,
        update_status=target.update_status,
        overdue=None if target.poll_status is None else target.poll_status.overdue,
        called_at=seconds(target.last_controller_request_at),
        changed_at=seconds(target.last_modified_at or target.created_at),
        installed_at=seconds(target.installed_at),
    )


def seconds(milliseconds: int | None) -> float | None:
    """Return hawkBit's milliseconds as seconds."""
    return None if milliseconds is None else milliseconds / 1000
