"""A pipeline's answers reach another module on the device, and what that says reaches the cloud."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_answers_go_to_a_module_by_routes_that_come_and_go_with_the_release(
    site: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    site.pipeline = "pipeline:\n  source: {kind: push}\n  sink: {kind: module, module: count}\n"
    # The other team's image takes whatever it is given and stays up.
    image = "'${EDGECTL_AZURE_REGISTRY:-none}/other-team/logger:1'"
    site.more = f"    functions:\n      count: {{image: {image}}}\n"
    with site.account(1):
        site.build("1", 1.0)
        assert site.run("deploy", "--poll", "0.5") == "all: healthy - 1 of 1 devices are healthy\n"
        deployment = site.hub("GET", "/configurations/edgectl-all_tiny-r1")
        content = deployment["content"]["modulesContent"]
        assert set(content["$edgeAgent"]) == {
            "properties.desired.modules.edgectl-tiny",
            "properties.desired.modules.edgectl-function-count",
        }
        assert set(content["$edgeHub"]) == {
            f"properties.desired.routes.edgectl-tiny-{name}"
            for name in ("telemetry", "to-count", "from-count")
        }
        twin = site.hub("GET", "/twins/all-1/modules/$edgeAgent")
        modules = twin["properties"]["reported"]["modules"]
        assert modules["edgectl-function-count"]["runtimeStatus"] == "running"
        assert modules["edgectl-tiny"]["runtimeStatus"] == "running"
        assert "configurations" in json.dumps(twin)
