"""``history``: the releases in the registry, newest first."""

from __future__ import annotations

from edgectl.api import HistoryPage, HistoryRequest, ReleaseRecord, list_releases
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge.repository import repository

PAGE = 20


def history(account: Account, request: HistoryRequest) -> HistoryPage:
    """Return a page of releases; each costs two requests to the registry."""
    before = int(request.cursor) if request.cursor else None
    found = list_releases(
        repository(account.config, request.application), limit=PAGE, before=before
    )
    return HistoryPage(
        releases=tuple(
            ReleaseRecord(
                number=release.number,
                package=release.package,
                version=release.document.version,
                content=release.document.content_digest(),
            )
            for release in found
        ),
        next=str(found[-1].number) if len(found) == PAGE else "",
    )
