"""The agent with the real runtime, the real verifying child and the real hub."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ddi_server import DdiServer
from device import Device
from edge_packages import make_files, make_release
from onnx_packages import scaling_package

from edge_components.contract.device import HubSection
from edge_components.contract.package import PACKAGE_FILE

TOKEN = "0123456789abcdef0123456789abcdef"
AGENT_LIMIT_KIB = 40 * 1024


def infer(device: Device) -> float | None:
    """Return the factor that the device multiplies with, or None if it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", device.port, timeout=5)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 0.0, 0.0, 0.0]}
    try:
        connection.request("POST", "/v2/models/plates/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        body = json.loads(response.read())
    except (OSError, http.client.HTTPException):
        return None
    else:
        return float(body["outputs"][0]["data"][0]) if response.status == 200 else None
    finally:
        connection.close()


def wait(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def deploy(device: Device, number: int, factor: float, golden_factor: float | None = None) -> None:
    package = scaling_package(
        device.publisher, factor, golden_factor=factor if golden_factor is None else golden_factor
    )
    envelope = make_release(device.publisher, package, number, soak_s=0.2)
    device.server.assign(f"a{number}", make_files(envelope, package))


def test_real_runtime_is_updated_kept_over_a_kill_and_stopped(
    device: Device, server: DdiServer
) -> None:
    device.start(real=True)
    deploy(device, 1, 2.0)
    assert server.wait_closed("a1", 60) == "success", server.attributes
    assert infer(device) == 2.0
    assert server.attributes["edgectl_provider"] == "CPUExecutionProvider"
    deploy(device, 2, 3.0)
    assert server.wait_closed("a2", 60) == "success", server.attributes
    assert infer(device) == 3.0
    deploy(device, 3, 4.0, golden_factor=5.0)
    assert server.wait_closed("a3", 60) == "failure"
    assert server.attributes["edgectl_reason"] == "golden-failed"
    assert infer(device) == 3.0
    pid = (device.state_dir / "runtime.pid").read_text()
    device.kill()
    assert infer(device) == 3.0, "the runtime has to survive its agent"
    device.start(real=True)
    deploy(device, 4, 6.0)
    assert server.wait_closed("a4", 60) == "success", server.attributes
    assert infer(device) == 6.0
    assert (device.state_dir / "runtime.pid").read_text() == pid, "the runtime was adopted"
    assert device.stop() == 0
    assert infer(device) is None


SLOW_INT8 = {"int8": 3_000, "fp32": 1}


def give(device: Device, number: int, factor: float, trips: dict[str, int]) -> None:
    package = scaling_package(device.publisher, factor, golden_factor=factor, trips=trips)
    envelope = make_release(device.publisher, package, number, soak_s=0.2)
    device.server.assign(f"a{number}", make_files(envelope, package))


def weights_of(device: Device, number: int) -> set[str]:
    package = device.state_dir / "store/versions" / str(number) / "package"
    return {path.parent.name for path in package.rglob("model.onnx")}


def test_variants_are_compared_on_the_device_where_the_site_allows_the_bytes(
    device: Device, server: DdiServer
) -> None:
    device.configure(compare_bytes=1 << 20)
    device.start(real=True)
    give(device, 1, 2.0, SLOW_INT8)
    assert server.wait_closed("a1", 60) == "success", server.attributes
    active = device.record().active
    assert active is not None
    assert (active.precision, infer(device)) == ("fp32", 2.0)
    assert weights_of(device, 1) == {"int8", "fp32"}


def test_without_it_one_variant_is_fetched_the_one_that_a_bench_found_fastest_first(
    device: Device, server: DdiServer
) -> None:
    device.start(real=True)
    give(device, 1, 2.0, SLOW_INT8)
    assert server.wait_closed("a1", 60) == "success", server.attributes
    assert weights_of(device, 1) == {"int8"}  # the profile's preference
    row = {"provider": "CPUExecutionProvider", "used": "CPUExecutionProvider", "ok": True}
    rows = [
        {**row, "precision": "int8", "median_ms": 9.0},
        {**row, "precision": "fp32", "median_ms": 0.1},
    ]
    report = {"model": "m", "hardware": "x86-64-cpu", "engine": "o", "at_unix_s": 1.0, "rows": rows}
    (device.state_dir / "store" / "bench.json").write_text(json.dumps(report))
    give(device, 2, 3.0, SLOW_INT8)
    assert server.wait_closed("a2", 60) == "success", server.attributes
    assert (weights_of(device, 2), infer(device)) == ({"fp32"}, 3.0)


def test_real_runtime_that_is_killed_is_started_again(device: Device, server: DdiServer) -> None:
    device.start(real=True)
    deploy(device, 1, 2.0)
    assert server.wait_closed("a1", 60) == "success"
    device.kill_runtime()
    wait(lambda: infer(device) == 2.0, "the runtime did not come back")
    wait(lambda: server.attributes["edgectl_state"] == "healthy", str(server.attributes))
    assert device.stop() == 0


def test_idle_agent_stays_below_its_memory_limit(device: Device, server: DdiServer) -> None:
    """Measured on the command itself, after an update and some polls."""
    command = [sys.executable, "-m", "edge_components.agent.main", "run", "--config"]
    agent = subprocess.Popen([*command, str(device.config_path)], stderr=subprocess.DEVNULL)
    try:
        deploy(device, 1, 2.0)
        assert server.wait_closed("a1", 60) == "success", server.attributes
        polls = server.polls
        server.wait(lambda: server.polls > polls + 5)
        status = Path(f"/proc/{agent.pid}/status").read_text()
        rss = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
        assert rss < AGENT_LIMIT_KIB
        maps = Path(f"/proc/{agent.pid}/maps").read_text()
        assert "numpy" not in maps
        assert "onnxruntime" not in maps
        assert "cryptography" not in maps
    finally:
        agent.terminate()
        assert agent.wait(30) == 0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[object]:
    pytest.importorskip("edgectl_selfhosted.hub.serve")
    from real_hub import RealHub  # noqa: PLC0415 - only where the hub is installed

    hub = RealHub(tmp_path / "hub")
    yield hub
    hub.stop()


def test_device_on_the_real_hub_installs_reports_and_refuses(device: Device, hub: object) -> None:
    from real_hub import RealHub  # noqa: PLC0415 - as above

    assert isinstance(hub, RealHub)
    hub.add_device("d1", TOKEN)
    device.configure(hub=HubSection(url=hub.url, token=TOKEN, poll_s=0.1))
    device.start()
    good = device.package("one", size=300_000)
    hub.assign("d1", 1, make_files(make_release(device.publisher, good, 1), good))
    wait(lambda: hub.status("d1") == "in_sync", "not in sync")
    device.wait_answer("one")
    assert hub.attributes("d1")["edgectl_state"] == "healthy"
    assert hub.attributes("d1")["edgectl_active_package"] == good.digest
    bad = device.package("two", check="golden", extra={"edgectl/assets/labels.txt": b"0\n1\n"})
    assert PACKAGE_FILE in {
        layer.annotations["org.cncf.model.filepath"] for layer in bad.manifest.layers
    }
    hub.assign("d1", 2, make_files(make_release(device.publisher, bad, 2), bad))
    wait(lambda: hub.status("d1") == "error", "no error")
    assert hub.attributes("d1")["edgectl_reason"] == "golden-failed"
    assert hub.attributes("d1")["edgectl_active_release"] == "1"
    device.wait_answer("one")
    hub.assign("d1", 3, make_files(make_release(device.publisher, good, 3), good))
    wait(lambda: hub.status("d1") == "in_sync", "not in sync again")
    assert hub.attributes("d1")["edgectl_active_release"] == "3"
    assert device.stop() == 0
