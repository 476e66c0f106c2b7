"""Our API server answers as a real one: word for word, to recorded answers of two versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import kube_replay as replay
import pytest

from edgectl_gke_edge.emulator.kube.real import RealServer
from edgectl_gke_edge.emulator.kube.server import KubeServer

VERSIONS = sorted(path.name for path in (Path(__file__).parent / "answers").iterdir())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", replay.CASES)
def test_our_server_answers_as_the_real_one_did(case: str, version: str, tmp_path: Path) -> None:
    server = KubeServer(tmp_path, version=f"v{version}.0-test")
    with server, replay.client_of(server) as client:
        found = list(replay.play(case, client))
    for (step, answer), recorded in zip(found, replay.recorded(case, version), strict=True):
        assert answer == recorded, step["send"]


@pytest.mark.parametrize("number", range(len(VERSIONS)))
@pytest.mark.parametrize("case", replay.CASES)
def test_the_real_server_answers_as_recorded(
    case: str, number: int, start_real: Callable[..., RealServer]
) -> None:
    with replay.client_of(start_real(number, bare=True)) as client:
        version = replay.version_of(client)
        if version not in VERSIONS:
            pytest.skip(f"nothing is recorded for {version}")
        found = list(replay.play(case, client))
    for (step, answer), recorded in zip(found, replay.recorded(case, version), strict=True):
        assert answer == recorded, step["send"]
