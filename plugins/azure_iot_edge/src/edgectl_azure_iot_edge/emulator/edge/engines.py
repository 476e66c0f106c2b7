"""Decides what runs modules: this machine's processes, or a container engine that is there."""

from __future__ import annotations

import functools
import os
import shutil

from edgectl.api import ProviderError
from edgectl_azure_iot_edge.emulator.edge.cliengine import (
    EXTRA_VARIABLE,
    CliEngine,
    extra_options,
    works,
)
from edgectl_azure_iot_edge.emulator.edge.device import MakeEngine
from edgectl_azure_iot_edge.emulator.edge.processes import ProcessEngine

ENGINES = ("auto", "process", "podman", "docker")


def choose_engine(name: str) -> MakeEngine:
    """Return what makes the engine of a name; ``auto`` takes a container engine that works.

    Raises:
        ProviderError: An engine that was asked for is not there or does not work.
    """
    if name == "process":
        return ProcessEngine
    for program in ("podman", "docker") if name == "auto" else (name,):
        why = works(program) if shutil.which(program) else "is not installed"
        if not why:
            extra = extra_options(os.environ.get(EXTRA_VARIABLE, ""))
            return functools.partial(CliEngine, program, extra=extra)
        if name != "auto":
            raise ProviderError(
                f"'{program}' {why}", hint="--engine process needs no container engine"
            )
    return ProcessEngine
