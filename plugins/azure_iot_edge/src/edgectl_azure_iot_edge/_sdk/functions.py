"""Which modules a package's pipeline sends answers to, and whether providers.azure knows them."""

from __future__ import annotations

from pathlib import Path

from edgectl.api import ModuleSink, ProjectError
from edgectl_azure_iot_edge._sdk.content import read_pipeline
from edgectl_azure_iot_edge.config import AzureConfig


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
