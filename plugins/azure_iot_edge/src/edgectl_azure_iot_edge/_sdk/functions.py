"""Which modules a package's pipeline sends answers to, and whether providers.azure knows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgectl.api import ModuleSink, ProjectError
from edgectl_azure_iot_edge._sdk.content import blob_path, read_pipeline
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.names import function_module
from edgectl_azure_iot_edge.schema import layer_modules


def functions_of(config: AzureConfig, layout: Path, digest: str) -> tuple[str, ...]:
    """Return the names of the functions that a package's pipeline sends answers to, each once.

    Raises:
        ProjectError: One is not in ``providers.azure.functions``.
        PackageError: The store does not have the package.
    """
    pipeline = read_pipeline(layout, digest)
    sinks = () if pipeline is None else pipeline.sinks
    names = tuple(dict.fromkeys(sink.module for sink in sinks if isinstance(sink, ModuleSink)))
    missing = [name for name in names if name not in config.functions]
    if missing:
        raise ProjectError(
            f"the pipeline sends answers to the module '{missing[0]}', which "
            "providers.azure.functions does not have",
            hint=f"give it an image: functions: {{{missing[0]}: {{image: …}}}}",
        )
    return names


def functions_known(
    config: AzureConfig, layout: Path, digest: str, present: Mapping[str, Any] | None
) -> tuple[str, ...]:
    """Return the same; on a machine without the package, as the hub's deployment has them.

    So a rollout that was begun elsewhere goes on from any machine.

    Args:
        config: The provider's settings.
        layout: The local store.
        digest: The package.
        present: The release's deployment in the hub, or None where there is none yet.

    Raises:
        ProjectError: One is not in ``providers.azure.functions``.
        PackageError: The store does not have the package, and the hub has no deployment.
    """
    if present is None or blob_path(layout, digest).exists():
        return functions_of(config, layout, digest)
    modules = layer_modules(present.get("content") or {})
    return tuple(name for name in config.functions if function_module(name) in modules)
