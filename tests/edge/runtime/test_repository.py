"""Further models from a folder, and statistics: Triton's extensions against a real process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edge_components.runtime.repository import find_entries
from edge_components.runtime.statistics import Statistics, Timing


@contextlib.contextmanager
def client_of(served: Any) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    yield client
    client.close()


@pytest.fixture
def folder(build: Any, tmp_path: Path) -> Path:
    """A folder with ``twice``, ``layout`` (two versions) and ``broken``."""
    found = tmp_path / "models"
    build.scaling(found / "twice.onnx", 2.0)
    build.scaling(found / "layout" / "9" / "model.onnx", 9.0)
    build.scaling(found / "layout" / "10" / "model.onnx", 10.0)
    (found / "broken.onnx").write_bytes(b"not a model")
    (found / "notes.txt").write_text("nothing")
    (found / ".hidden.onnx").write_bytes(b"")
    return found


@pytest.fixture
def served(start: Any, build: Any, folder: Path, tmp_path: Path) -> Any:
    main = build.scaling(tmp_path / "main.onnx", 3.0)
    return start("--model", main, "--name", "main", "--models", folder)


def order(served: Any, name: str, verb: str, body: Any = None) -> tuple[int, Any]:
    found: tuple[int, Any] = served.json("POST", f"/v2/repository/models/{name}/{verb}", body)
    return found


def index(served: Any, **body: Any) -> dict[str, Any]:
    status, lines = served.json("POST", "/v2/repository/index", body)
    assert status == 200
    return {line["name"]: line for line in lines}


def test_the_highest_number_of_tritons_layout_counts(folder: Path) -> None:
    entries = find_entries(folder)
    assert sorted(entries) == ["broken", "layout", "twice"]
    assert entries["layout"].version == "10"


def test_the_index_lists_what_answers_and_what_could(served: Any) -> None:
    found = index(served)
    assert found["main"] == {"name": "main", "version": "1", "state": "READY"}
    assert found["twice"]["state"] == "UNAVAILABLE"
    assert found["twice"]["reason"] == "not loaded"
    assert list(index(served, ready=True)) == ["main"]


def test_a_model_answers_between_load_and_unload(served: Any) -> None:
    assert served.json("GET", "/v2/models/twice/ready")[0] == 404
    assert order(served, "twice", "load") == (200, {})
    assert served.infer([1, 2, 3, 4], "twice") == [2, 4, 6, 8]
    assert served.infer([1, 2, 3, 4], "main") == [3, 6, 9, 12]
    assert order(served, "twice", "unload") == (200, {})
    assert served.json("GET", "/v2/models/twice/ready")[0] == 404
    assert index(served)["twice"]["reason"] == "unloaded"


def test_loading_again_takes_the_file_as_it_is_now(served: Any, build: Any, folder: Path) -> None:
    order(served, "twice", "load")
    build.scaling(folder / "twice.onnx", 5.0)
    order(served, "twice", "load")
    assert served.infer([1, 2, 3, 4], "twice") == [5, 10, 15, 20]


def test_a_reload_that_fails_leaves_the_present_model(served: Any, folder: Path) -> None:
    order(served, "twice", "load")
    (folder / "twice.onnx").write_bytes(b"damaged")
    assert order(served, "twice", "load")[0] == 400
    assert served.infer([1, 2, 3, 4], "twice") == [2, 4, 6, 8]


def test_a_broken_model_says_why_and_others_go_on(served: Any) -> None:
    status, answer = order(served, "broken", "load")
    assert status == 400
    assert "model 'broken' cannot be loaded" in answer["error"]
    assert "broken.onnx" in index(served)["broken"]["reason"]
    assert served.infer([1, 2, 3, 4], "main") == [3, 6, 9, 12]


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_the_deployed_model_is_not_touched(served: Any, verb: str) -> None:
    status, answer = order(served, "main", verb)
    assert status == 409
    assert "the deployed one" in answer["error"]


@pytest.mark.parametrize("name", ["none", "..%2Fmain", "%2Fetc%2Fpasswd", "notes.txt"])
def test_only_what_the_folder_holds_can_be_loaded(served: Any, name: str) -> None:
    status, answer = order(served, name, "load")
    assert status == 404
    assert "there are: 'broken', 'layout', 'twice'" in answer["error"]


def test_a_request_brings_no_model_of_its_own(served: Any) -> None:
    body = {"parameters": {"file:1/model.onnx": "AAAA", "config": "{}"}}
    status, answer = order(served, "twice", "load", body)
    assert status == 400
    assert "'file:1/model.onnx', 'config'" in answer["error"]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready": 3}', b"\xff", b"[" * 5000])
def test_a_malformed_order_gets_400(served: Any, body: bytes) -> None:
    assert served.json("POST", "/v2/repository/index", body)[0] == 400


def test_a_server_without_a_folder_loads_nothing(start: Any, build: Any, tmp_path: Path) -> None:
    served = start("--model", build.scaling(tmp_path / "m.onnx", 1.0))
    assert "model_repository" not in served.json("GET", "/v2")[1]["extensions"]
    status, answer = order(served, "twice", "load")
    assert status == 404
    assert "--models" in answer["error"]


def test_models_loaded_at_start_are_ready_without_a_deployed_one(start: Any, folder: Path) -> None:
    served = start("--models", folder, "--load", "*")
    assert served.request("GET", "/v2/health/ready")[0] == 200
    assert sorted(index(served, ready=True)) == ["layout", "twice"]
    assert served.json("GET", "/v2/models/layout")[1]["versions"] == ["10"]


def test_a_version_folder_answers_under_its_folders_name(
    start: Any, build: Any, make_version: Any
) -> None:
    path = make_version(
        7, {"fp32": lambda path: build.scaling(path, 7.0)}, golden=build.scaling_golden(7.0)
    )
    served = start("--models", path.parent, "--load", "7")
    assert served.infer([1, 0, 0, 0], "7") == [7, 0, 0, 0]
    assert served.json("GET", "/v2/models/7")[1]["parameters"]["release"] == 7


def test_an_unknown_name_to_load_ends_the_start(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_components.runtime.main", "serve", "--port", "0"]
    more = ["--state-dir", str(tmp_path), "--models", str(folder), "--load", "none"]
    done = subprocess.run(
        [*command, *more], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "no model 'none' can be loaded" in done.stderr


def test_tritons_client_drives_the_repository(served: Any) -> None:
    with client_of(served) as client:
        assert "model_repository" in client.get_server_metadata()["extensions"]
        client.load_model("twice")
        assert client.is_model_ready("twice")
        states = {line["name"]: line["state"] for line in client.get_model_repository_index()}
        assert states["twice"] == "READY"
        client.unload_model("twice")
        assert not client.is_model_ready("twice")
        with pytest.raises(InferenceServerException, match="no model 'none' can be loaded"):
            client.load_model("none")


def test_statistics_count_requests_samples_and_failures(served: Any) -> None:
    with client_of(served) as client:
        x = triton.InferInput("x", [3, 4], "FP32")
        x.set_data_from_numpy(np.zeros((3, 4), np.float32))
        client.infer("main", [x])
        client.infer("main", [x])
        with pytest.raises(InferenceServerException):
            client.infer("main", [])
        [found] = client.get_inference_statistics("main")["model_stats"]
        assert (found["name"], found["version"]) == ("main", "1")
        assert found["execution_count"] == 2
        assert found["inference_count"] == 6
        sums = found["inference_stats"]
        assert sums["success"]["count"] == 2
        assert sums["fail"]["count"] == 1
        parts = ("queue", "compute_input", "compute_infer", "compute_output")
        assert sums["success"]["ns"] == sum(sums[part]["ns"] for part in parts) > 0
        assert [batch["batch_size"] for batch in found["batch_stats"]] == [3]


def test_statistics_of_all_models_and_of_a_version(served: Any) -> None:
    order(served, "twice", "load")
    _, found = served.json("GET", "/v2/models/stats")
    assert [entry["name"] for entry in found["model_stats"]] == ["main", "twice"]
    assert served.json("GET", "/v2/models/twice/versions/1/stats")[0] == 200
    assert served.json("GET", "/v2/models/twice/versions/2/stats")[0] == 404


def test_varying_batches_do_not_grow_the_statistics() -> None:
    statistics = Statistics()
    for samples in range(1000):
        statistics.succeeded(Timing(0, 1, 2, 3), samples)
    found = statistics.document("m", "1")
    assert len(found["batch_stats"]) == 64
    assert found["execution_count"] == 1000
