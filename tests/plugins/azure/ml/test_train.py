"""``train`` on the emulated Azure ML: the project's own program runs, its model comes back."""

from __future__ import annotations

import _thread
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from edgectl.api import (
    AuthError,
    NotFoundError,
    ProjectError,
    ProviderContext,
    ProviderError,
    TrainedModel,
    TrainError,
    TrainRequest,
    UnreachableError,
)
from edgectl_azure_iot_edge._sdk import train as module
from edgectl_azure_iot_edge.config import AzureConfig, TrainingConfig
from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.rooms import AzureFault

pytestmark = pytest.mark.filterwarnings(
    "ignore::marshmallow.warnings.RemovedInMarshmallow4Warning"  # the SDK's own use of marshmallow
)
TRAIN = """
import json, os, pathlib, sys
print("reading", os.environ["EDGECTL_INPUT_DATA"], flush=True)
rows = pathlib.Path("data/rows.csv").read_text()
model = pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"])
model.write_bytes(b"onnx of " + rows.encode())
model.with_name("model.onnx.data").write_bytes(b"weights")
pathlib.Path(os.environ["EDGECTL_OUTPUT_METRICS"]).write_text(json.dumps({"accuracy": 0.5}))
print("arguments", sys.argv[1:], flush=True)
"""


class Heard:
    """What the operator was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._told = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._told:
            self.lines.append(line)
            self._told.notify_all()

    def wait_for(self, text: str) -> None:
        with self._told:
            found = self._told.wait_for(lambda: text in "\n".join(self.lines), 60)
        assert found, self.lines


@pytest.fixture
def heard() -> Heard:
    """What the operator was told."""
    return Heard()


@pytest.fixture
def request_(project: Path, name: str) -> TrainRequest:
    """A project whose program reads its data where it lies and writes a model."""
    (project / "train.py").write_text(TRAIN)
    (project / "data").mkdir()
    (project / "data" / "rows.csv").write_text("1,2,3")
    (project / ".env").write_text("SECRET=1")
    return TrainRequest(
        name=name,
        version="1.0.0",
        project_dir=project,
        command=("python", "train.py", "--note", "it's $HOME; `x`"),
        inputs={"data": project / "data"},
        model=project / "out" / "model.onnx",
        metrics=project / "out" / "metrics.json",
    )


@pytest.fixture
def train(config: AzureConfig, project: Path, heard: Heard) -> Callable[..., TrainedModel]:
    """Return a function that trains."""

    def run(request: TrainRequest, **changes: Any) -> TrainedModel:
        context = ProviderContext(project_dir=project, state_dir=project / "s", progress=heard)
        return module.train(replace(config, **changes), context, request)

    return run


def client(config: AzureConfig) -> Any:
    from edgectl_azure_iot_edge._sdk.workspace import Workspace  # noqa: PLC0415 - slow to import

    return Workspace(config).client


def test_the_projects_own_program_runs_and_its_model_comes_back(
    train: Callable[..., TrainedModel], request_: TrainRequest, heard: Heard
) -> None:
    made = train(request_)
    assert request_.model.read_bytes() == b"onnx of 1,2,3"
    assert request_.model.with_name("model.onnx.data").read_bytes() == b"weights"
    assert made.metrics == {"accuracy": 0.5}
    assert made.job.startswith("edgectl-")
    assert set(made.inputs) == {"data"}
    assert "Azure ML: Completed" in heard.lines
    assert any("arguments ['--note', \"it's $HOME; `x`\"]" in line for line in heard.lines)


def test_only_the_outputs_come_back(
    train: Callable[..., TrainedModel], request_: TrainRequest, project: Path
) -> None:
    extra = "\npathlib.Path('elsewhere.txt').write_text('x')\npathlib.Path('train.py').unlink()\n"
    (project / "train.py").write_text(TRAIN + extra)
    train(request_)
    assert (project / "train.py").exists()
    assert not (project / "elsewhere.txt").exists()
    assert sorted(path.name for path in (project / "out").iterdir()) == [
        "metrics.json",
        "model.onnx",
        "model.onnx.data",
    ]


def test_training_again_sends_neither_code_nor_data_again(
    account: RunningAccount, train: Callable[..., TrainedModel], request_: TrainRequest
) -> None:
    first = train(request_)
    account.site.calls.reset()
    again = train(request_)
    assert again.job != first.job
    assert again.job.rpartition("-")[0] == first.job.rpartition("-")[0]
    assert account.site.calls.counts().total.get("blob.PutBlob", 0) == 0


def test_secrets_stay_here(
    train: Callable[..., TrainedModel], request_: TrainRequest, heard: Heard
) -> None:
    listing = "\nprint('files', sorted(p.name for p in pathlib.Path('.').iterdir()), flush=True)\n"
    (request_.project_dir / "train.py").write_text(TRAIN + listing)
    (request_.project_dir / "publisher.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    train(request_)
    line = next(line for line in heard.lines if line.startswith("files"))
    assert line == "files ['data', 'edgectl_job', 'logs', 'out', 'outputs', 'train.py']"


def test_a_failure_shows_the_last_lines(
    train: Callable[..., TrainedModel], request_: TrainRequest
) -> None:
    (request_.project_dir / "train.py").write_text("print('almost')\nraise SystemExit('no luck')\n")
    with pytest.raises(TrainError, match="ended as Failed") as raised:
        train(request_)
    assert "almost" in raised.value.message
    assert "no luck" in raised.value.message
    assert raised.value.vendor_code == "Failed"


def test_a_program_that_leaves_no_model_is_told(
    train: Callable[..., TrainedModel], request_: TrainRequest
) -> None:
    (request_.project_dir / "train.py").write_text("print('done')\n")
    with pytest.raises(TrainError, match=r"left no model at 'out/model.onnx'"):
        train(request_)


def test_what_takes_too_long_is_canceled(
    train: Callable[..., TrainedModel], request_: TrainRequest, config: AzureConfig
) -> None:
    (request_.project_dir / "train.py").write_text("import time\ntime.sleep(600)\n")
    short = replace(config.training, timeout_s=1)
    with pytest.raises(TrainError, match="ended as Canceled") as raised:
        train(request_, training=short)
    assert "timeout_s" in raised.value.hint


WAITING = "import time\nprint('waiting', flush=True)\ntime.sleep(600)\n"


def test_ctrl_c_cancels_the_job_and_says_so(
    train: Callable[..., TrainedModel], request_: TrainRequest, heard: Heard, config: AzureConfig
) -> None:
    (request_.project_dir / "train.py").write_text(WAITING)

    def interrupt() -> None:
        heard.wait_for("waiting")
        _thread.interrupt_main(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        train(request_)
    assert "was asked to cancel the training job" in heard.lines[-1]
    job = heard.lines[-1].split("'")[1]
    jobs = client(config).jobs
    deadline = time.monotonic() + 30
    while jobs.get(job).status != "Canceled":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_command_that_was_cut_off_finds_its_job_running(
    account: RunningAccount,
    train: Callable[..., TrainedModel],
    request_: TrainRequest,
    heard: Heard,
    project: Path,
) -> None:
    ready = project.parent / "go"
    wait = f"while not pathlib.Path({str(ready)!r}).exists():\n    time.sleep(0.05)\n"
    body = "import pathlib, time\nprint('waiting', flush=True)\n" + wait
    (request_.project_dir / "train.py").write_text(body + TRAIN)
    failures: list[ProviderError] = []

    def first() -> None:
        try:
            train(request_)
        except ProviderError as exc:
            failures.append(exc)

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    heard.wait_for("waiting")
    fault = {"code": "AuthorizationFailed", "status": 403, "message": "taken away"}
    account.site.faults.add(AzureFault(operation="ml.GetJob", times=1, **fault))
    thread.join(30)
    assert "goes on and is billed" in failures[0].hint
    again = threading.Thread(target=train, args=(request_,), daemon=True)
    again.start()
    heard.wait_for("which runs already")
    ready.touch()
    again.join(60)
    assert request_.model.read_bytes() == b"onnx of 1,2,3"


def test_a_workspace_that_is_not_there_is_named(
    train: Callable[..., TrainedModel], request_: TrainRequest
) -> None:
    with pytest.raises(NotFoundError, match="workspaces/nowhere' under resource group") as raised:
        train(request_, workspace="nowhere")
    assert "workspace" in raised.value.hint


def test_a_compute_that_is_not_there_is_named(
    train: Callable[..., TrainedModel], request_: TrainRequest, config: AzureConfig
) -> None:
    with pytest.raises(ProviderError, match="Unknown compute target 'gpu'"):
        train(request_, training=replace(config.training, compute="gpu"))


def test_serverless_compute_takes_a_machine(
    train: Callable[..., TrainedModel], request_: TrainRequest
) -> None:
    settings = TrainingConfig(instance_type="Standard_D4s_v3", image="example.test/python:3.11")
    assert train(request_, training=settings).metrics == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"workspace": None}, "workspace"),
        ({"training": TrainingConfig(compute="x")}, "image"),
        ({"training": TrainingConfig(compute="x", image="a", environment="b")}, "image"),
        ({"training": TrainingConfig(image="a")}, "compute"),
    ],
)
def test_a_setting_that_is_missing_is_named_before_anything_happens(
    account: RunningAccount,
    train: Callable[..., TrainedModel],
    request_: TrainRequest,
    changes: dict[str, Any],
    missing: str,
) -> None:
    with pytest.raises(ProjectError, match=missing):
        train(request_, **changes)
    assert account.site.calls.counts().total == {}


def test_a_missing_right_is_named(
    account: RunningAccount,
    train: Callable[..., TrainedModel],
    request_: TrainRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = account.site.directory.add(("AcrPull",))
    monkeypatch.setenv("AZURE_CLIENT_ID", made.client_id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", made.secret)
    with pytest.raises(AuthError, match="jobs/read is missing") as raised:
        train(request_)
    assert raised.value.vendor_code == "AuthorizationFailed"


def test_a_wrong_secret_is_told_without_it(
    train: Callable[..., TrainedModel], request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "not-this-one")
    with pytest.raises(AuthError, match="no usable Azure credentials") as raised:
        train(request_)
    assert "not-this-one" not in str(raised.value)


def test_a_service_that_fails_for_good_is_told(
    account: RunningAccount, train: Callable[..., TrainedModel], request_: TrainRequest
) -> None:
    fault = {"code": "InternalServerError", "status": 500, "message": "it fell over"}
    account.site.faults.add(
        AzureFault(operation="ml.PutJob", times=None, retry_after_s=0.01, **fault)
    )
    with pytest.raises(UnreachableError, match="it fell over"):
        train(request_)


def test_a_busy_service_is_asked_again(
    account: RunningAccount, train: Callable[..., TrainedModel], request_: TrainRequest
) -> None:
    fault = {"code": "TooManyRequests", "status": 429, "message": "slow down"}
    account.site.faults.add(AzureFault(operation="ml.*", times=2, retry_after_s=0.01, **fault))
    assert train(request_).metrics == {"accuracy": 0.5}


def test_the_sdk_prints_nothing_to_the_users_terminal(
    train: Callable[..., TrainedModel],
    request_: TrainRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    train(request_)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_the_job_gets_nothing_of_the_emulators_own_environment(
    train: Callable[..., TrainedModel],
    request_: TrainRequest,
    monkeypatch: pytest.MonkeyPatch,
    config: AzureConfig,
    heard: Heard,
) -> None:
    monkeypatch.setenv("EDGECTL_TEST_SECRET", "not for jobs")
    body = "\nprint(json.dumps(dict(os.environ)), flush=True)\n"
    (request_.project_dir / "train.py").write_text(TRAIN + body)
    train(request_, training=replace(config.training, variables={"SEED": "7"}))
    line = next(line for line in heard.lines if line.startswith('{"'))
    seen = json.loads(line)
    assert seen["SEED"] == "7"
    assert "EDGECTL_TEST_SECRET" not in seen
    assert "AZURE_CLIENT_SECRET" not in seen
    assert os.environ["AZURE_CLIENT_SECRET"] not in line
