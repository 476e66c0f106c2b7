"""Which operation of Azure Machine Learning a request is. Pure.

Sources: the workspace's management API (ARM), its run history and its data plane, as far as
azure-ai-ml calls them for command jobs and assets.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edgectl_azure_iot_edge.emulator.ml.naming import PROVIDER, Scope

_SCOPE = (
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    rf"/providers/{re.escape(PROVIDER)}/workspaces/(?P<workspace>[^/]+)"
)
_PREFIX = re.compile(rf"(?P<plane>/history/v1\.0|/data/v1\.0|){_SCOPE}(?P<rest>.*)", re.IGNORECASE)
_RESULT = re.compile(
    rf"/subscriptions/[^/]+/providers/{re.escape(PROVIDER)}/locations/[^/]+"
    r"/mfeOperationResults/(?P<name>[^/]+)",
    re.IGNORECASE,
)
DISCOVERY = "/discovery"
_KIND = r"(?P<kind>codes|environments|data|models)"
_NAME = r"(?P<name>[^/]+)"
_VERSION = r"(?P<version>[^/]+)"

# (method, plane, rest) → (operation, action of a role below the workspace)
_ROUTES: tuple[tuple[str, str, str, str, str], ...] = (
    ("GET", "", "", "GetWorkspace", "read"),
    ("GET", "", "/datastores", "ListDatastores", "datastores/read"),
    ("GET", "", f"/datastores/{_NAME}", "GetDatastore", "datastores/read"),
    (
        "POST",
        "",
        f"/datastores/{_NAME}/listSecrets",
        "ListSecrets",
        "datastores/listSecrets/action",
    ),
    ("GET", "", f"/computes/{_NAME}", "GetCompute", "computes/read"),
    ("GET", "", f"/{_KIND}", "ListContainers", "{kind}/read"),
    ("GET", "", f"/{_KIND}/{_NAME}", "GetContainer", "{kind}/read"),
    ("GET", "", f"/{_KIND}/{_NAME}/versions", "ListVersions", "{kind}/versions/read"),
    ("GET", "", f"/{_KIND}/{_NAME}/versions/{_VERSION}", "GetVersion", "{kind}/versions/read"),
    ("PUT", "", f"/{_KIND}/{_NAME}/versions/{_VERSION}", "PutVersion", "{kind}/versions/write"),
    (
        "POST",
        "",
        f"/{_KIND}/{_NAME}/versions/{_VERSION}/startPendingUpload",
        "StartPendingUpload",
        "{kind}/versions/write",
    ),
    ("GET", "", "/jobs", "ListJobs", "jobs/read"),
    ("GET", "", f"/jobs/{_NAME}", "GetJob", "jobs/read"),
    ("PUT", "", f"/jobs/{_NAME}", "PutJob", "jobs/write"),
    ("POST", "", f"/jobs/{_NAME}/cancel", "CancelJob", "jobs/cancel/action"),
    ("GET", "/history/v1.0", f"/runs/{_NAME}", "GetRun", "experiments/runs/read"),
    ("GET", "/history/v1.0", f"/runs/{_NAME}/details", "GetRunDetails", "experiments/runs/read"),
    ("POST", "/history/v1.0", "/rundata", "GetRunData", "experiments/runs/read"),
    (
        "PATCH",
        "/history/v1.0",
        f"/experiments/(?P<experiment>[^/]+)/runs/{_NAME}",
        "PatchRun",
        "experiments/runs/write",
    ),
    ("POST", "/data/v1.0", "/dataversion/batchGetResolvedUris", "ResolveUris", "datasets/read"),
)


class Route(NamedTuple):
    """A request's operation and what it names.

    Attributes:
        action: What a role has to allow, or "" where none is asked for.
        scope: The workspace; None for an operation that has none.
    """

    operation: str
    action: str = ""
    scope: Scope | None = None
    kind: str = ""
    name: str = ""
    version: str = ""


def serves(path: str) -> bool:
    """Say whether a path is of Azure Machine Learning, known or not."""
    return (
        path == DISCOVERY
        or _PREFIX.fullmatch(path) is not None
        or _RESULT.fullmatch(path) is not None
    )


def parse(method: str, path: str) -> Route | None:
    """Return what a request asks for; None for what the emulator does not have."""
    if path == DISCOVERY:
        return Route("Discover") if method == "GET" else None
    if found := _RESULT.fullmatch(path):
        return Route("GetOperationResult", name=found["name"]) if method == "GET" else None
    match = _PREFIX.fullmatch(path)
    if match is None:
        return None
    scope = Scope(
        subscription=match["subscription"],
        resource_group=match["group"],
        workspace=match["workspace"],
    )
    for verb, plane, rest, operation, action in _ROUTES:
        found = re.fullmatch(rest, match["rest"], re.IGNORECASE)
        if verb == method and plane == match["plane"].lower() and found is not None:
            named = found.groupdict()
            kind = named.get("kind", "").lower()
            return Route(
                operation,
                f"{PROVIDER}/workspaces/{action.format(kind=kind)}",
                scope,
                kind,
                named.get("name", ""),
                named.get("version", ""),
            )
    return None
