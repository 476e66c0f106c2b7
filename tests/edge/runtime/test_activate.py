"""Switching versions: no request fails, and what cannot be used changes nothing."""

from __future__ import annotations

import http.client
import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bare(module_start: Any) -> Any:
    """A runtime without a version."""
    return module_start()


@pytest.fixture
def v1(make_version: Any, build: Any) -> Path:
    folder: Path = make_version(1, {"fp32": lambda path: build.scaling(path, 2.0)})
    return folder


def version(make_version: Any, build: Any, number: int, factor: float, **more: Any) -> Any:
    return make_version(
        number,
        {"fp32": lambda path: build.scaling(path, factor)},
        golden=build.scaling_golden(factor),
        **more,
    )


def test_without_a_version_the_runtime_is_live_but_not_ready(bare: Any) -> None:
    served = bare
    assert served.json("GET", "/v2/health/live")[0] == 200
    assert served.json("GET", "/v2/health/ready") == (503, {"live": True, "ready": False})
    assert served.control("GET", "/control/status")[1]["ready"] is False


def test_activation_makes_the_release_answer(start: Any, make_version: Any, build: Any) -> None:
    served = start()
    folder = version(make_version, build, 7, 3.0)
    status, answer = served.control("POST", "/control/activate", {"version_dir": str(folder)})
    assert status == 200, answer
    assert answer["release"] == 7
    assert answer["precision"] == "fp32"
    assert answer["provider"] == "CPUExecutionProvider"
    assert answer["package"].startswith("sha256:")
    assert served.infer([1.0, 2.0, 3.0, 4.0]) == [3.0, 6.0, 9.0, 12.0]
    found = served.control("GET", "/control/status")[1]
    assert found["release"] == 7
    assert found["version_dir"] == str(folder)
    assert found["pid"] == served.process.pid
    assert served.json("GET", "/v2/models/plates")[1]["parameters"]["release"] == 7


def test_the_control_socket_is_for_its_owner_only(bare: Any) -> None:
    served = bare
    assert stat.S_IMODE(served.socket_path.stat().st_mode) == 0o600


def test_no_request_fails_while_versions_change(
    start: Any, make_version: Any, build: Any, v1: Path
) -> None:
    served = start("--version-dir", v1, "--precision", "fp32")
    folders = [version(make_version, build, number, float(number)) for number in range(2, 7)]
    body = json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}]}
    )
    seen: set[float] = set()
    bad: list[Any] = []
    stop = threading.Event()

    def traffic() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        while not stop.is_set():
            connection.request("POST", "/v2/models/plates/infer", body)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status == 200:
                seen.update(json.loads(data)["outputs"][0]["data"])
            else:
                bad.append(data)
        connection.close()

    threads = [threading.Thread(target=traffic) for _ in range(4)]
    for thread in threads:
        thread.start()
    for folder in folders:
        status, answer = served.control("POST", "/control/activate", {"version_dir": str(folder)})
        assert status == 200, answer
        build.until(lambda wanted=float(folder.name): wanted in seen)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert bad == []
    assert {2.0, 3.0, 4.0, 5.0, 6.0} <= seen


def break_model(folder: Path) -> None:
    (folder / "package/model/fp32.onnx").write_bytes(b"not a model")


def break_release(folder: Path) -> None:
    (folder / "release.json").write_bytes(b"{}")


def remove_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "precision", "reason"),
    [
        (break_model, "fp32", "load-failed"),
        (break_model, None, "load-failed"),
        (break_release, None, "bad-package"),
        (remove_manifest, None, "bad-package"),
        (lambda folder: None, "int8", "hardware-mismatch"),
    ],
)
def test_a_version_that_cannot_be_used_leaves_the_old_one_serving(
    start: Any,
    make_version: Any,
    build: Any,
    v1: Path,
    damage: Any,
    precision: str | None,
    reason: str,
) -> None:
    served = start("--version-dir", v1)
    folder = version(make_version, build, 2, 9.0)
    damage(folder)
    body = {"version_dir": str(folder), "precision": precision}
    status, answer = served.control("POST", "/control/activate", body)
    assert status == 422
    assert answer["reason"] == reason
    assert answer["detail"]
    assert served.infer([1.0, 1.0, 1.0, 1.0]) == [2.0, 2.0, 2.0, 2.0]
    assert served.control("GET", "/control/status")[1]["release"] == 1


def test_without_a_given_precision_the_golden_check_decides(
    start: Any, make_version: Any, build: Any, v1: Path
) -> None:
    served = start("--version-dir", v1)
    folder = make_version(
        2, {"fp32": lambda path: build.scaling(path, 9.0)}, golden=build.scaling_golden(8.0)
    )
    status, answer = served.control("POST", "/control/activate", {"version_dir": str(folder)})
    assert (status, answer["reason"]) == (422, "golden-failed")
    assert served.infer([1.0, 1.0, 1.0, 1.0])[0] == 2.0


def test_the_faster_variant_is_taken_and_the_next_where_it_does_not_hold(
    start: Any, make_version: Any, build: Any
) -> None:
    served = start()
    good = {
        "fp32": lambda path: build.endless(path, trips=20_000),
        "int8": lambda path: build.scaling(path, 1.0),
    }
    bad = {**good, "int8": lambda path: build.scaling(path, 2.5)}
    golden = build.scaling_golden(1.0)
    first, second = make_version(1, good, golden=golden), make_version(2, bad, golden=golden)
    found = [
        served.control("POST", "/control/activate", {"version_dir": str(folder)})[1]["precision"]
        for folder in (first, second)
    ]
    assert found == ["int8", "fp32"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/control/nothing", None, 404),
        ("GET", "/control/activate", None, 405),
        ("POST", "/control/activate", {"version": 1}, 400),
        ("POST", "/control/activate", b"[", 400),
        ("POST", "/control/event", {"body": "x", "attributes": {"a": []}}, 400),
        ("POST", "/control/event", {"body": "x", "attributes": {"a": 1}}, 200),
    ],
)
def test_control_requests_are_checked(
    bare: Any, method: str, path: str, body: Any, status: int
) -> None:
    assert bare.control(method, path, body)[0] == status


def test_the_public_port_has_no_control_and_the_control_socket_no_inference(bare: Any) -> None:
    served = bare
    assert served.json("GET", "/control/status")[0] == 404
    assert served.control("GET", "/v2")[0] == 404
