"""Tells that a model runs elsewhere than the device's profile wants it to, whoever loaded it."""

from __future__ import annotations

import logging

from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.telemetry import Value
from edge_components.runtime.model import Model
from edge_components.runtime.providers import shortfall
from edge_components.telemetry.recorder import Recorder

log = logging.getLogger(__name__)

_INFO = 9
_WARNING = 13


def tell_shortfall(model: Model, profile: HardwareProfile, recorder: Recorder) -> None:
    """Record a warning where a provider is not used at all, an event where it is for some nodes."""
    wanted = profile.execution_providers
    found = shortfall(wanted, model.asked, model.nodes)
    if found is None:
        return
    log.warning("model '%s': %s", model.identity.name, found.text)
    nodes: dict[str, Value] = {f"nodes.{name}": n for name, n in sorted(model.nodes.items())}
    recorder.event(
        found.text,
        severity=_WARNING if found.is_serious else _INFO,
        attributes={
            "model.name": model.identity.name,
            "provider": model.provider,
            "wanted": wanted[0],
            **nodes,
        },
    )
