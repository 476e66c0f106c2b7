"""KServe's own REST and gRPC clients, unmodified, against a real runtime process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
SCRIPT = Path(__file__).parent / "kserve_client.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(), reason="KServe's clients are not there: make setup-kserve"
    ),
]
TYPES: dict[str, tuple[int, list[Any]]] = {
    "BOOL": (TensorProto.BOOL, [True, False, True]),
    "UINT8": (TensorProto.UINT8, [0, 7, 255]),
    "UINT16": (TensorProto.UINT16, [0, 7, 65535]),
    "UINT32": (TensorProto.UINT32, [0, 7, 2**32 - 1]),
    "UINT64": (TensorProto.UINT64, [0, 7, 2**64 - 1]),
    "INT8": (TensorProto.INT8, [-128, 0, 127]),
    "INT16": (TensorProto.INT16, [-32768, 0, 32767]),
    "INT32": (TensorProto.INT32, [-(2**31), 0, 2**31 - 1]),
    "INT64": (TensorProto.INT64, [-(2**63), 0, 2**63 - 1]),
    "FP16": (TensorProto.FLOAT16, [-1.5, 0.0, 65504.0]),
    "FP32": (TensorProto.FLOAT, [-1.5, 0.25, 3.5]),
    "FP64": (TensorProto.DOUBLE, [-1.5, 0.1, 1e300]),
    "BYTES": (TensorProto.STRING, ["", "Straße", "x"]),
}
PAIR = [
    {"name": "a", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]},
    {"name": "b", "datatype": "FP32", "shape": [2, 2], "data": [10, 20, 30, 40]},
]
FORMS = {"json": False, "binary": True}
WAYS = ("rest", "grpc")


def jobs() -> list[dict[str, Any]]:
    """The pair first, then one echo of each type, each in both forms."""
    found = []
    for binary in FORMS.values():
        found.append({"model": "pair", "inputs": PAIR, "binary": binary, "id": "42"})
        for name, (_, values) in TYPES.items():
            given = {"name": f"x_{name}", "datatype": name, "shape": [3], "data": values}
            found.append({"model": f"echo_{name}", "inputs": [given], "binary": binary})
    # This client has no JSON form of half precision, and over gRPC nobody has one.
    return [job for job in found if job["binary"] or job["model"] != "echo_FP16"]


@pytest.fixture(scope="module")
def found(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the clients got, by transport."""
    folder = tmp_path_factory.mktemp("models")
    build.pair(folder / "pair.onnx")
    for name, (onnx_type, _) in TYPES.items():
        build.echo(folder / f"echo_{name}.onnx", {name: onnx_type})
    served = module_start("--models", folder, "--load", "*", "--grpc-port", "0")
    job = {"port": served.port, "grpc_port": served.grpc_port, "jobs": jobs()}
    done = subprocess.run(
        [PYTHON, "-I", SCRIPT],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def answers(found: Any, way: str, model: str) -> list[Any]:
    by_job = zip(jobs(), found[way]["answers"], strict=True)
    return [answer for job, answer in by_job if job["model"] == model]


@pytest.mark.parametrize("way", WAYS)
def test_server_and_model_are_ready_and_an_unknown_model_is_not(found: Any, way: str) -> None:
    got = found[way]
    assert (got["live"], got["ready"], got["model"]) == (True, True, True)
    assert not got["no model"]


@pytest.mark.parametrize("way", WAYS)
def test_inference_answers_in_both_forms_with_the_id(found: Any, way: str) -> None:
    got = answers(found, way, "pair")
    assert len(got) == len(FORMS)
    for answer in got:
        assert answer["id"] == "42"
        assert answer["outputs"]["sum"] == [11.0, 22.0, 33.0, 44.0]
        assert answer["outputs"]["diff"] == [-9.0, -18.0, -27.0, -36.0]
        assert answer["shapes"]["sum"] == [2, 2]


@pytest.mark.parametrize("datatype", sorted(TYPES))
@pytest.mark.parametrize("way", WAYS)
def test_every_datatype_goes_through(found: Any, way: str, datatype: str) -> None:
    got = answers(found, way, f"echo_{datatype}")
    assert got
    for answer in got:
        assert answer["outputs"][f"y_{datatype}"] == TYPES[datatype][1]


def test_an_error_says_what_is_missing_over_both(found: Any) -> None:
    status, rest = found["rest"]["error"]
    code, details = found["grpc"]["error"]
    assert (status, code) == (400, "INVALID_ARGUMENT")
    assert "the request has no input 'b'" in rest
    assert "the request has no input 'b'" in details
