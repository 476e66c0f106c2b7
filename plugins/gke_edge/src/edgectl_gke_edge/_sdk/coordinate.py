"""``coordinate``: a text in the coordination cluster, swapped by resource version."""

from __future__ import annotations

from edgectl.api import CoordinateRequest, CoordinateResult, UnreachableError
from edgectl_gke_edge._sdk import shared
from edgectl_gke_edge._sdk.account import Account


def coordinate(account: Account, request: CoordinateRequest) -> CoordinateResult:
    """Read or swap the text.

    Raises:
        UnreachableError: The coordination cluster does not answer; nothing is begun without it.
    """
    text = shared.SharedText(account, request.target, request.application, request.key)
    try:
        if request.read_only:
            return CoordinateResult(value=text.read())
        value, swapped = text.swap(request.expect, request.value)
    except UnreachableError as exc:
        raise UnreachableError(
            f"{exc.message}; operators share their leases there",
            hint="wait until it is back, or name another in `coordination_cluster` of "
            "providers.gke, for all operators alike",
            vendor_code=exc.vendor_code,
        ) from exc
    return CoordinateResult(value=value, swapped=swapped)
