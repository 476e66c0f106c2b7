"""Execution providers: what is asked for, what is really used, and which variant is chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from edge_components.contract.digest import digest_hex
from edge_components.contract.hardware import PROFILES, HardwareProfile
from edge_components.contract.telemetry import TelemetryRecord, from_otlp
from edge_components.runtime.choice import Contest, fits_beside, read_choice
from edge_components.runtime.choosing import load_checked
from edge_components.runtime.load import load_variant
from edge_components.runtime.model import Identity, load_model
from edge_components.runtime.providers import (
    first_used,
    for_session,
    keeps_engines,
    options_for,
    placement,
    shortfall,
)
from edge_components.runtime.version import read_version

CPU, CUDA, AZURE = "CPUExecutionProvider", "CUDAExecutionProvider", "AzureExecutionProvider"
TENSORRT, OPENVINO = "TensorrtExecutionProvider", "OpenVINOExecutionProvider"


def profile(**changes: Any) -> HardwareProfile:
    plain = {
        "name": "made",
        "title": "made",
        "arch": "x86_64",
        "memory_bytes": 1 << 30,
        "model_memory_bytes": 1 << 28,
    }
    return HardwareProfile(**{**plain, **changes})


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_profile_has_options_for_its_own_providers_only_and_ends_with_the_cpu(
    name: str,
) -> None:
    found = PROFILES[name]
    assert set(found.provider_options) <= set(found.execution_providers)
    assert found.execution_providers[-1] == CPU


def test_options_name_the_models_folder_and_the_precision() -> None:
    options = options_for(PROFILES["jetson-xavier-nx"], precision="int8", cache=Path("/e/abc"))
    assert options[TENSORRT] == {
        "trt_max_workspace_size": str((8192 << 20) // 8),
        "trt_builder_optimization_level": "3",
        "trt_fp16_enable": "1",
        "trt_int8_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/e/abc",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/e/abc",
    }
    assert options[CUDA]["cudnn_conv_algo_search"] == "HEURISTIC"
    intel = options_for(PROFILES["intel-openvino"], precision="fp16", cache=Path("/e/abc"))
    assert intel == {OPENVINO: {"cache_dir": "/e/abc"}}
    assert options_for(PROFILES["intel-openvino"], cache=None) == {}
    assert (
        "trt_fp16_enable"
        not in options_for(PROFILES["jetson-orin"], precision="fp32", cache=None)[TENSORRT]
    )


def test_a_session_is_made_with_what_is_offered_best_first() -> None:
    options = {CUDA: {"gpu_mem_limit": "1"}}
    wanted = (TENSORRT, CUDA, CPU)
    assert for_session(wanted, [CPU, CUDA], options) == [(CUDA, {"gpu_mem_limit": "1"}), CPU]
    assert for_session((CUDA,), ["x"], options) == [CPU]
    assert keeps_engines(wanted)
    assert not keeps_engines((CUDA, CPU))


@pytest.mark.parametrize(
    ("asked", "nodes", "used"),
    [
        ([CUDA, CPU], {CUDA: 3, CPU: 1}, CUDA),
        ([CUDA, CPU], {CPU: 4}, CPU),
        ([CUDA, CPU], {}, CUDA),  # this ONNX Runtime does not tell
    ],
)
def test_the_provider_with_nodes_does_the_work(
    asked: list[str], nodes: dict[str, int], used: str
) -> None:
    assert first_used(asked, nodes) == used


@pytest.mark.parametrize(
    ("wanted", "asked", "nodes", "text", "is_serious"),
    [
        ((CUDA, CPU), [CPU], {CPU: 4}, f"{CUDA} is not available", True),
        ((CUDA, CPU), [CUDA, CPU], {CPU: 4}, f"{CUDA} takes none of its nodes", True),
        ((TENSORRT, CUDA, CPU), [CUDA, CPU], {CUDA: 4}, f"runs on {CUDA}, {TENSORRT}", True),
        ((CUDA, CPU), [CUDA, CPU], {CUDA: 3, CPU: 1}, "1 of 4 nodes", False),
    ],
)
def test_a_fall_to_another_provider_is_said(
    wanted: tuple[str, ...], asked: list[str], nodes: dict[str, int], text: str, is_serious: bool
) -> None:
    found = shortfall(wanted, asked, nodes)
    assert found is not None
    assert text in found.text
    assert found.is_serious is is_serious


@pytest.mark.parametrize(
    ("wanted", "nodes"), [((CPU,), {CPU: 4}), ((CUDA, CPU), {CUDA: 4}), ((CUDA, CPU), {})]
)
def test_where_all_is_well_nothing_is_said(wanted: tuple[str, ...], nodes: dict[str, int]) -> None:
    assert shortfall(wanted, list(wanted), nodes) is None


def test_onnx_runtime_tells_that_a_provider_in_first_place_runs_nothing(
    build: Any, tmp_path: Path
) -> None:
    model = load_model(build.scaling(tmp_path / "m.onnx", 2.0), Identity(name="m"), (AZURE, CPU))
    assert model.asked == [AZURE, CPU]
    assert model.nodes == {CPU: 1}
    assert model.provider == CPU


def test_without_the_record_of_nodes_the_sessions_list_is_believed(
    build: Any, tmp_path: Path
) -> None:
    path = build.scaling(tmp_path / "m.onnx", 2.0)
    session = ort.InferenceSession(str(path), providers=[CPU])
    assert placement(session) == {}


def test_a_fall_to_the_cpu_is_a_warning_event_of_the_running_runtime(
    start: Any, make_version: Any, build: Any, tmp_path: Path
) -> None:
    out, models = tmp_path / "t.jsonl", tmp_path / "models"
    folder = make_version(1, {"fp32": lambda path: build.scaling(path, 2.0)})
    models.mkdir()
    build.scaling(models / "beside.onnx", 3.0)
    start(
        *("--version-dir", folder, "--precision", "fp32", "--hardware", "jetson-orin"),
        *("--models", models, "--load", "beside"),
        *("--telemetry-url", f"file://{out}", "--telemetry-interval-s", "0.1"),
    )

    def warnings() -> list[TelemetryRecord]:
        lines = out.read_bytes().splitlines() if out.exists() else []
        records = [record for line in lines for record in from_otlp(line)]
        return [record for record in records if record.severity == 13]

    deployed, beside = build.until(lambda: found if len(found := warnings()) > 1 else None)
    assert deployed.body == f"the model runs on {CPU}, {TENSORRT} is not available"
    told = {"provider": CPU, "wanted": TENSORRT, f"nodes.{CPU}": 1}
    assert deployed.attributes.items() >= told.items()
    assert beside.attributes == {**told, "model.name": "beside"}


def test_what_a_provider_compiles_has_a_folder_by_the_digest_of_the_weights(
    make_version: Any, build: Any, tmp_path: Path
) -> None:
    folder = make_version(1, {"fp32": lambda path: build.scaling(path, 2.0)})
    version = read_version(folder)
    (variant,) = version.info.variants
    engines = tmp_path / "engines"
    load_variant(version, variant, PROFILES["x86-64-cpu"], engines=engines)
    assert not engines.exists()  # the CPU compiles nothing
    load_variant(version, variant, PROFILES["jetson-orin"], engines=engines)
    (made,) = engines.iterdir()
    assert made.name == digest_hex(version.digests[variant.path])


def slow(build: Any, trips: int) -> Any:
    return lambda path: build.endless(path, trips=trips)


def test_the_fastest_variant_that_holds_is_taken_and_kept_for_the_next_start(
    make_version: Any, build: Any, tmp_path: Path
) -> None:
    folder = make_version(
        1,
        {"int8": slow(build, 20_000), "fp32": slow(build, 1)},
        golden=build.scaling_golden(1.0),
    )
    version = read_version(folder)
    made = profile(precisions=("int8", "fp32"))
    model = load_checked(version, made, None, state=tmp_path)
    assert model.identity.precision == "fp32"
    kept = read_choice(tmp_path)
    assert kept is not None
    assert (kept.package, kept.precision) == (version.release.package, "fp32")
    # What was chosen is tried first, and where it does not hold any more, the next.
    (folder / "package" / "model" / "fp32.onnx").write_bytes(b"broken")
    assert load_checked(version, made, None, state=tmp_path).identity.precision == "int8"


def test_a_faster_variant_whose_golden_set_fails_is_not_taken(
    make_version: Any, build: Any
) -> None:
    folder = make_version(
        1,
        {"int8": slow(build, 5_000), "fp32": lambda path: build.scaling(path, 3.0)},
        golden=build.scaling_golden(1.0),
    )
    model = load_checked(read_version(folder), profile(), None)
    assert model.identity.precision == "int8"


def test_a_choice_for_another_package_or_machine_is_made_anew(
    make_version: Any, build: Any, tmp_path: Path
) -> None:
    folder = make_version(
        1,
        {"int8": slow(build, 20_000), "fp32": slow(build, 1)},
        golden=build.scaling_golden(1.0),
    )
    stale = {"package": "sha256:0", "hardware": "made", "engine": "x", "precision": "int8"}
    (tmp_path / "precision.json").write_text(json.dumps(stale))
    model = load_checked(read_version(folder), profile(), None, state=tmp_path)
    assert model.identity.precision == "fp32"


def test_variants_that_do_not_fit_together_are_not_compared(make_version: Any, build: Any) -> None:
    folder = make_version(1, {"int8": slow(build, 5_000), "fp32": slow(build, 1)})
    small = profile(model_memory_bytes=1)
    assert load_checked(read_version(folder), small, None).identity.precision == "int8"
    assert fits_beside([5, 3, 2], 8)
    assert not fits_beside([5, 3, 2], 7)


def test_a_contest_wants_more_than_chance_and_ends() -> None:
    now = [0.0]
    contest = Contest(lambda: now[0])
    assert contest.wins(1.0)
    assert not contest.wins(0.9)
    assert contest.wins(0.8)
    assert not contest.is_over
    now[0] = 31.0
    assert contest.is_over


def test_a_contest_without_a_winner_goes_on() -> None:
    now = [0.0]
    contest = Contest(lambda: now[0])
    now[0] = 1e9
    assert not contest.is_over
