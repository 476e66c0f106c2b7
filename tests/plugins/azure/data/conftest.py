"""One endpoint for most tests; each has devices of its own."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from azure_endpoint import Endpoint


@pytest.fixture(scope="session")
def shared_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    made = Endpoint(tmp_path_factory.mktemp("eventhub"))
    yield made
    made.close()


@pytest.fixture
def endpoint(shared_endpoint: Endpoint) -> Iterator[Endpoint]:
    yield shared_endpoint
    shared_endpoint.site.faults.clear()
    shared_endpoint.site.ahead_s = 0.0


@pytest.fixture
def device() -> str:
    return f"d-{secrets.token_hex(4)}"
