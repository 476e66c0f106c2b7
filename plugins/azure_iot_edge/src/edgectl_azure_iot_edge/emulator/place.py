"""What the emulated subscription is called: what the project says, else names of ours.

So a project that was written for a real hub and workspace finds both here, under the names that it
has for them. Its settings may name variables that only the running emulator gives
(``${EDGECTL_AZURE_REGISTRY}``), so each is read by itself, and one that cannot be read counts as
not there.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import msgspec

from edgectl.api import Project, ProjectError, Record

SUBSCRIPTION = "00000000-0000-4000-8000-0000000000e1"
RESOURCE_GROUP = "edgectl"
HUB = "edgectl-hub"
WORKSPACE = "edgectl-ml"
COMPUTE = "cpu-cluster"
PROVIDER = "azure"
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Place(Record, frozen=True, kw_only=True):
    """Where everything is.

    Attributes:
        computes: The compute clusters of the workspace.
    """

    subscription: str = SUBSCRIPTION
    resource_group: str = RESOURCE_GROUP
    hub: str = HUB
    workspace: str = WORKSPACE
    computes: tuple[str, ...] = (COMPUTE,)


def place_of(project: Project) -> Place:
    """Return the names that a project has for what it uses in Azure."""
    subscription = setting(project, "subscription_id") or ""
    compute = setting(project, "training", "compute")
    return Place(
        # A name that is not an id is a stand-in for the variable that the emulator gives.
        subscription=subscription if _ID.fullmatch(subscription) else SUBSCRIPTION,
        resource_group=setting(project, "resource_group") or RESOURCE_GROUP,
        hub=setting(project, "iot_hub") or HUB,
        workspace=setting(project, "workspace") or WORKSPACE,
        computes=tuple(dict.fromkeys(name for name in (compute, COMPUTE) if name)),
    )


def setting(project: Project, *keys: str) -> Any:
    """Return one of ``providers.azure`` with variables expanded.

    Args:
        project: Whose.
        keys: The way to it, for example ``"training", "compute"``.

    Returns:
        None if it is not there or names a variable that is not set.
    """
    value: Any = project.spec.providers.get(PROVIDER, {})
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    alone = copy.copy(project)
    alone.spec = msgspec.structs.replace(project.spec, providers={PROVIDER: {keys[-1]: value}})
    try:
        return alone.provider_config(PROVIDER)[keys[-1]]
    except ProjectError:
        return None
