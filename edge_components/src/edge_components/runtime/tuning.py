"""How ONNX Runtime is set up for one model on one device: threads, memory, waiting.

A model that takes microseconds is slowed by a thread pool, a large one needs every core to answer
one client soon. Where an accelerator does the work the CPU only fills gaps. An arena keeps what a
run needed for the next one: worth it for a large model, unless the device is short of memory.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from edge_components.contract.hardware import MIB, HardwareProfile

SMALL_MODEL_BYTES = 512 << 10
_SCARCE_BYTES = 1536 * MIB
_BESIDE_AN_ACCELERATOR = 2
_CPU = "CPUExecutionProvider"


class Tuning(NamedTuple):
    """What a session is made with.

    Attributes:
        threads: That one run of the model uses.
        keeps_memory: Whether memory of a run is kept for the next.
        max_batch: How many requests that wait may run together.
    """

    threads: int = 1
    keeps_memory: bool = True
    max_batch: int = 1


def tune(profile: HardwareProfile, model_bytes: int, cores: int) -> Tuning:
    """Return the setup for a model.

    Args:
        profile: The device; what it sets wins.
        model_bytes: Size of the model's file.
        cores: How many the process may use.
    """
    is_small = model_bytes <= SMALL_MODEL_BYTES
    threads = profile.threads
    if not threads:
        few = (
            min(cores, _BESIDE_AN_ACCELERATOR) if profile.execution_providers[0] != _CPU else cores
        )
        threads = 1 if is_small else few
    return Tuning(
        threads=threads,
        keeps_memory=not is_small and profile.memory_bytes > _SCARCE_BYTES,
        max_batch=profile.max_batch,
    )


def tuned(profile: HardwareProfile, threads: int, max_batch: int | None) -> HardwareProfile:
    """Return the profile with what the settings say: 0 threads and no batch leave it as it is."""
    changed: dict[str, int] = {}
    if threads:
        changed["threads"] = threads
    if max_batch is not None:
        changed["max_batch"] = max_batch
    return msgspec.structs.replace(profile, **changed)
