"""``check`` of what training and the model registry need: whether the workspace is there.

Apart from the checks of the hub, because it needs azure-ai-ml, which takes seconds to import and is
of no use to a project without a workspace.
"""

from __future__ import annotations

from edgectl.api import EdgectlError, Finding
from edgectl_azure_iot_edge._sdk.workspace import Workspace
from edgectl_azure_iot_edge.config import AzureConfig

NAME = "workspace"


def check_workspace(config: AzureConfig) -> Finding:
    """Look at the workspace and the compute target of training; changes nothing."""
    try:
        return Finding(name=NAME, ok=True, detail=_found(config))
    except EdgectlError as exc:
        return Finding(name=NAME, ok=False, detail=exc.message, hint=exc.hint)


def _found(config: AzureConfig) -> str:
    workspace = Workspace(config)
    with workspace.calling(f"read the workspace '{workspace.name}'"):
        workspace.client.workspaces.get(workspace.name)
    compute = config.training.compute
    if not compute:
        return f"'{workspace.name}', with serverless compute"
    with workspace.calling(f"read the compute target '{compute}'"):
        workspace.client.compute.get(compute)
    return f"'{workspace.name}', with compute target '{compute}'"
