"""``history``: the releases of an application, which the registry remembers."""

from __future__ import annotations

import msgspec

from edgectl.api import (
    HistoryPage,
    HistoryRequest,
    NotFoundError,
    RegistryError,
    ReleaseRecord,
    list_releases,
    read_release,
)
from edgectl_azure_iot_edge._sdk.account import Account

PAGE = 20
MISSING = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND", "404"})


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A release that the registry has: its manifest's digest, and its package's."""

    digest: str
    package: str


def history(account: Account, request: HistoryRequest) -> HistoryPage:
    """Return a page of releases, newest first; the cursor is the last one's number."""
    before = int(request.cursor) if request.cursor else None
    reference = account.repository(request.application)
    found = list_releases(reference, limit=PAGE, before=before)
    releases = tuple(
        ReleaseRecord(
            number=one.number,
            package=one.package,
            version=one.document.version,
            content=one.document.content_digest(),
        )
        for one in found
    )
    more = str(found[-1].number) if len(found) == PAGE else ""
    return HistoryPage(releases=releases, next=more)


def find_release(account: Account, application: str, number: int) -> Published:
    """Return a release that was packaged.

    Raises:
        NotFoundError: It was not.
        RegistryError: The registry refused, or could not be reached.
    """
    try:
        found = read_release(account.repository(application), number)
    except RegistryError as exc:
        if exc.vendor_code not in MISSING:
            raise
        raise NotFoundError(
            f"the registry has no release {number} of '{application}'",
            hint="the `package` step makes it; run `edgectl deploy` again",
            vendor_code=exc.vendor_code,
        ) from exc
    return Published(digest=found.digest, package=found.package)
