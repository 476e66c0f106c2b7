"""Training in Jobs on nodes that run them, held to the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgectl import api
from edgectl.api import Provider
from edgectl.testing.conformance import TrainConformance
from edgectl_gke_edge._sdk.account import close_accounts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class TestTraining(TrainConformance):
    """What every provider that trains has to keep; the image has this machine's Python."""

    @pytest.fixture
    def provider(self, running: Any, tmp_path: Path) -> Iterator[Provider]:
        """A provider that trains in the cluster."""
        context = api.ProviderContext(
            project_dir=tmp_path, state_dir=tmp_path / ".edgectl", progress=print
        )
        config = {
            "registry": running.info["registry"],
            "kubeconfig": running.info["kubeconfig"],
            "training": {"image": running.info["images"]["library/python"]},
        }
        yield api.open_provider("gke", config, context)
        close_accounts()
