"""``history``: the distribution sets of an application that carry our mark, newest first."""

from __future__ import annotations

from edgectl.api import HistoryPage, HistoryRequest, ReleaseRecord
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.publish import SETS
from edgectl_selfhosted._sdk.wire import Page, SetView
from edgectl_selfhosted.render import release_record


def history(client: Client, request: HistoryRequest) -> HistoryPage:
    """Read one page; sets are listed by age, and release numbers only rise with it."""
    offset = int(request.cursor or "0")
    page = client.page(
        f"list the releases of '{request.application}'",
        SETS,
        SetView,
        {"q": fiql.equal("name", request.application), "sort": "id:DESC", "offset": offset},
    )
    after = offset + len(page.content)
    return HistoryPage(
        releases=_releases(page, request.application),
        next=str(after) if page.content and after < page.total else "",
    )


def all_releases(client: Client, application: str) -> dict[int, ReleaseRecord]:
    """Return every release of an application by number, newest first."""
    what = f"list the releases of '{application}'"
    query = {"q": fiql.equal("name", application), "sort": "id:DESC"}
    found = list(client.pages(what, SETS, SetView, query))
    return {r.number: r for r in _releases(Page(content=found), application)}


def _releases(page: Page[SetView], application: str) -> tuple[ReleaseRecord, ...]:
    records = (
        release_record(s.name, s.version, s.description, s.created_at, application=application)
        for s in page.content
    )
    found = [record for record in records if record is not None]
    return tuple(sorted(found, key=lambda record: record.number, reverse=True))
