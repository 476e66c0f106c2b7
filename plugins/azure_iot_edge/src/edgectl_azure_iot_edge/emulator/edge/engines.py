"""Decides what runs modules: this machine's processes, or a container engine that is there."""

from __future__ import annotations

import functools
import os
import shlex
import shutil

from edgectl.api import ProviderError
from edgectl_azure_iot_edge.emulator.edge.cliengine import (
    EXTRA_VARIABLE,
    CliEngine,
    extra_options,
    works,
)
from edgectl_azure_iot_edge.emulator.edge.containers import Premises
from edgectl_azure_iot_edge.emulator.edge.device import MakeEngine
from edgectl_azure_iot_edge.emulator.edge.mixed import MixedEngine
from edgectl_azure_iot_edge.emulator.edge.processes import ProcessEngine

ENGINES = ("auto", "process", "podman", "docker")
ENGINES_HELP = "process, podman, docker (also with options of theirs), or auto"


def _mixed(program: tuple[str, ...], extra: tuple[str, ...], premises: Premises) -> MixedEngine:
    return MixedEngine(CliEngine(program, premises, extra=extra), premises)


def choose_engine(name: str) -> MakeEngine:
    """Return what makes an engine; ``auto`` takes a container engine that works.

    A name may be a whole command, as ``podman --runtime runc``.

    Raises:
        ProviderError: An engine that was asked for is not there or does not work.
    """
    if name == "process":
        return ProcessEngine
    for text in ("podman", "docker") if name == "auto" else (name,):
        program = tuple(shlex.split(text))
        why = works(program) if program and shutil.which(program[0]) else "is not installed"
        if not why:
            extra = extra_options(os.environ.get(EXTRA_VARIABLE, ""))
            return functools.partial(_mixed, program, extra)
        if name != "auto":
            raise ProviderError(
                f"'{text}' {why}", hint="--engine process needs no container engine"
            )
    return ProcessEngine
