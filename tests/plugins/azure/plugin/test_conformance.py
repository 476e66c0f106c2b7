"""The conformance kit against the emulated hub, with devices that take what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgectl import api
from edgectl.api import Provider
from edgectl.testing.conformance import ProviderConformance

pytestmark = pytest.mark.filterwarnings(
    "ignore::marshmallow.warnings.RemovedInMarshmallow4Warning"  # azure-ai-ml is not ready for it
)


class TestAzure(ProviderConformance):
    """Everything that a provider has to keep."""

    settle_timeout_s = 30.0

    @pytest.fixture
    def provider(self, open_plugin: Callable[..., Provider]) -> Provider:
        """Opened by name, as the command line opens it."""
        return open_plugin()

    @pytest.fixture
    def second_provider(self, open_plugin: Callable[..., Provider]) -> Provider:
        """Another operator's."""
        return open_plugin()

    @pytest.fixture
    def target(self, fleet: Any) -> api.Target:
        """Three devices that take what they are given."""
        fleet.add("one", "two", "three")
        found: api.Target = fleet.target
        return found

    @pytest.fixture
    def empty_target(self, unique: str) -> api.Target:
        """Tags that no device has."""
        return api.Target(
            name="none", provider="azure", selector={"tags": {"site": f"none-{unique}"}}
        )

    @pytest.fixture
    def secrets(self, site: Any) -> tuple[str, ...]:
        """The operator's key."""
        return (site.env["IOTHUB_CONNECTION_STRING"].partition("SharedAccessKey=")[2],)
