from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgectl import api


def open_at(tmp_path: Path, lines: list[str], **config: str) -> api.Provider:
    context = api.ProviderContext(
        project_dir=tmp_path, state_dir=tmp_path / ".edgectl", progress=lines.append
    )
    return api.open_provider("selfhosted", dict(config), context)


def test_opening_the_provider_imports_no_http_client(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from edgectl import api; here = pathlib.Path(sys.argv[1]);"
        "context = api.ProviderContext(project_dir=here, state_dir=here, progress=print);"
        "provider = api.open_provider('selfhosted', {}, context);"
        "provider.capabilities();"
        "print([m for m in sys.modules if m in ('httpx', 'ssl', 'starlette', 'uvicorn')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_wrong_key_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(api.ProjectError, match=r"providers\.selfhosted: .*`ulr`"):
        open_at(tmp_path, [], ulr="http://x")


@pytest.mark.parametrize(
    "hook",
    [
        "train", "register", "package", "deploy", "telemetry", "inventory", "observe", "history",
        "withdraw", "coordinate", "check", "capabilities", "enroll", "retire", "approval",
    ],
)  # fmt: skip
def test_every_hook_is_there(tmp_path: Path, hook: str) -> None:
    assert open_at(tmp_path, []).supports(hook)


def test_training_runs_here_and_its_lines_are_progress(tmp_path: Path) -> None:
    lines: list[str] = []
    script = (
        "import os, pathlib; print('epoch 1');"
        "pathlib.Path(os.environ['EDGECTL_OUTPUT_MODEL']).write_bytes(b'onnx');"
        "pathlib.Path(os.environ['EDGECTL_OUTPUT_METRICS']).write_text('{\"accuracy\": 0.97}')"
    )
    request = api.TrainRequest(
        name="plates",
        version="1.0.0",
        project_dir=tmp_path,
        command=(sys.executable, "-c", script),
        model=tmp_path / "out" / "model.onnx",
        metrics=tmp_path / "out" / "metrics.json",
    )
    trained = open_at(tmp_path, lines).train(request)
    assert trained.metrics == {"accuracy": 0.97}
    assert "epoch 1" in lines


def test_registering_and_training_need_no_server(tmp_path: Path) -> None:
    version = api.ModelVersion(
        name="plates",
        version="1.0.0",
        digest="sha256:" + "1" * 64,
        inputs=(),
        outputs=(),
        opset={"": 17},
        ir_version=8,
    )
    request = api.RegisterRequest(version=version, files={}, approval="approved")
    provider = open_at(tmp_path, [], url="http://127.0.0.1:1")
    assert provider.register(request).approval == "approved"
    assert (tmp_path / ".edgectl" / "models" / "plates" / "1.0.0.json").is_file()
