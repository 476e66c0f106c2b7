"""The conformance kit: what every provider has to keep, as pytest classes to derive from.

One class a hook, and ``ProviderConformance`` with all of them::

    class TestMine(ProviderConformance):
        @pytest.fixture
        def provider(self, tmp_path): ...

        @pytest.fixture
        def target(self): ...

``provider`` and ``target`` have to be overridden; every other fixture of ``Fixtures`` can be. A
hook that the provider leaves out is skipped by what it supports, never by its name. Needs pytest
(``pip install edgectl[testing]``).
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{module}" for module in ("build", "fleet", "rollout", "shared", "telemetry"))
)

from edgectl.testing.conformance.base import Fixtures  # noqa: E402 - asserts are rewritten first
from edgectl.testing.conformance.build import (  # noqa: E402 - asserts are rewritten first
    ApprovalConformance,
    PackageConformance,
    RegisterConformance,
    TrainConformance,
)
from edgectl.testing.conformance.fleet import (  # noqa: E402 - asserts are rewritten first
    CapabilitiesConformance,
    CheckConformance,
    EnrollConformance,
    InventoryConformance,
    RetireConformance,
)
from edgectl.testing.conformance.rollout import (  # noqa: E402 - asserts are rewritten first
    DeployConformance,
    HistoryConformance,
    ObserveConformance,
    PreviewConformance,
    WithdrawConformance,
)
from edgectl.testing.conformance.shared import (  # noqa: E402 - asserts are rewritten first
    CoordinateConformance,
    FacadeConformance,
)
from edgectl.testing.conformance.telemetry import (  # noqa: E402 - asserts are rewritten first
    TelemetryConformance,
)

__all__ = [
    "ApprovalConformance",
    "CapabilitiesConformance",
    "CheckConformance",
    "CoordinateConformance",
    "DeployConformance",
    "EnrollConformance",
    "FacadeConformance",
    "Fixtures",
    "HistoryConformance",
    "InventoryConformance",
    "ObserveConformance",
    "PackageConformance",
    "PreviewConformance",
    "ProviderConformance",
    "RegisterConformance",
    "RetireConformance",
    "TelemetryConformance",
    "TrainConformance",
    "WithdrawConformance",
]


class ProviderConformance(
    FacadeConformance,
    CapabilitiesConformance,
    CheckConformance,
    TrainConformance,
    RegisterConformance,
    ApprovalConformance,
    PackageConformance,
    InventoryConformance,
    EnrollConformance,
    RetireConformance,
    PreviewConformance,
    DeployConformance,
    ObserveConformance,
    HistoryConformance,
    WithdrawConformance,
    CoordinateConformance,
    TelemetryConformance,
):
    """Everything that a provider has to keep."""
