"""The GKE Hub API (google.cloud.gkehub.v1): the fleet's members."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from google.cloud import gkehub_v1

from edgectl_gke_edge.emulator.google.account import Account
from edgectl_gke_edge.emulator.google.errors import already_exists, invalid, not_found
from edgectl_gke_edge.emulator.google.names import check_id, label_filter
from edgectl_gke_edge.emulator.google.operations import Operation, to_longrunning
from edgectl_gke_edge.emulator.google.paging import page
from edgectl_gke_edge.emulator.google.rpc import Method

_SERVICE = "/google.cloud.gkehub.v1.GkeHub/"
_MEMBERSHIP = "projects/*/locations/*/memberships/*"
_CODE = gkehub_v1.MembershipState.Code


class Hub:
    """The methods of ``GkeHub``."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def methods(self) -> list[Method]:
        """List what is served."""
        h = gkehub_v1
        table: list[tuple[str, Any, Any, str, str]] = [
            ("ListMemberships", h.ListMembershipsRequest, self._list, "list", "parent"),
            ("GetMembership", h.GetMembershipRequest, self._get, "get", "name"),
            ("CreateMembership", h.CreateMembershipRequest, self._create, "create", "parent"),
            ("UpdateMembership", h.UpdateMembershipRequest, self._update, "update", "name"),
            ("DeleteMembership", h.DeleteMembershipRequest, self._delete, "delete", "name"),
        ]
        return [
            Method(_SERVICE + name, request, handler, f"gkehub.memberships.{verb}", resource)
            for name, request, handler, verb, resource in table
        ]

    def _list(self, request: Any) -> Any:
        place, location = self._account.place(
            request.parent, "gkehub.memberships.list", any_location=True
        )
        labels = label_filter(request.filter)
        found = [
            membership
            for name, membership in sorted(self._account.memberships.items())
            if (location == "-" or name.startswith(f"{place}/"))
            and labels.items() <= dict(membership.labels).items()
        ]
        of = [request.parent, request.filter, request.order_by]
        items, token = page(found, request.page_size, request.page_token, of=of)
        return gkehub_v1.ListMembershipsResponse(resources=items, next_page_token=token)

    def _full(self, name: str, verb: str) -> str:
        full = self._account.full(name, _MEMBERSHIP, f"gkehub.memberships.{verb}")
        if full not in self._account.memberships:
            raise not_found(full)
        return full

    def _get(self, request: Any) -> Any:
        return self._account.memberships[self._full(request.name, "get")]

    def _create(self, request: Any) -> Any:
        place, _ = self._account.place(request.parent, "gkehub.memberships.create")
        name = f"{place}/memberships/{check_id(request.membership_id, 'membership_id')}"
        repeated = self._account.operations.repeated(request.request_id, "create", name)
        if repeated:
            return to_longrunning(repeated)
        if name in self._account.memberships:
            raise already_exists(name)
        membership = copy.deepcopy(request.resource)
        membership.name = name
        membership.create_time = datetime.now(UTC)
        membership.state = gkehub_v1.MembershipState(code=_CODE.CREATING)
        self._account.memberships[name] = membership

        def finish() -> Any:
            membership.state = gkehub_v1.MembershipState(code=_CODE.READY)
            return membership

        return self._started(place, "create", name, finish, request.request_id)

    def _update(self, request: Any) -> Any:
        name = self._full(request.name, "update")
        paths = list(request.update_mask.paths)
        for path in paths:
            if path not in {"labels", "description", "external_id"}:
                raise invalid("update_mask", f"'{path}' cannot be changed")
        membership = self._account.memberships[name]

        def finish() -> Any:
            for path in paths:
                setattr(membership, path, getattr(request.resource, path))
            return membership

        place = name.rpartition("/memberships/")[0]
        return self._started(place, "update", name, finish, request.request_id)

    def _delete(self, request: Any) -> Any:
        name = self._full(request.name, "delete")
        membership = self._account.memberships[name]
        membership.state = gkehub_v1.MembershipState(code=_CODE.DELETING)

        def finish() -> None:
            self._account.memberships.pop(name, None)

        place = name.rpartition("/memberships/")[0]
        return self._started(place, "delete", name, finish, request.request_id)

    def _started(self, place: str, verb: str, name: str, finish: Any, request_id: str) -> Any:
        operation = self._account.operations.start(
            place, verb, name, finish, metadata=_metadata, request_id=request_id
        )
        return to_longrunning(operation)


def _metadata(operation: Operation) -> Any:
    metadata: Any = gkehub_v1.OperationMetadata(
        create_time=operation.began,
        target=operation.target,
        verb=operation.verb,
        cancel_requested=operation.cancelled,
        api_version="v1",
    )
    if operation.ended is not None:
        metadata.end_time = operation.ended
    return metadata
