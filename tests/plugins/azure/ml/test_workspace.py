"""The workspace as azure-ai-ml sees it by itself, and what it refuses."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.ml.jobs import parse_duration

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::marshmallow.warnings.RemovedInMarshmallow4Warning"  # the SDK's own use of it
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # and of the storage SDK
]
VERSION = "2025-01-01-preview"


@pytest.fixture
def ml(config: AzureConfig) -> Any:
    """Microsoft's client of the workspace."""
    from edgectl_azure_iot_edge._sdk.workspace import Workspace  # noqa: PLC0415 - slow to import

    return Workspace(config).client


@pytest.fixture
def job(name: str, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes a job of a script."""
    from azure.ai.ml import command  # noqa: PLC0415 - slow to import
    from azure.ai.ml.entities import Environment  # noqa: PLC0415 - slow to import

    def make(script: str, line: str = "python main.py", **more: Any) -> Any:
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / "main.py").write_text(script)
        settings = {"compute": "cpu-cluster", "environment": Environment(image="a.test/b:1")}
        return command(name=name, code=str(tmp_path / "code"), command=line, **(settings | more))

    return make


@pytest.fixture
def call(account: RunningAccount, credential: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that asks the management API as it is told."""
    context = ssl.create_default_context(cafile=str(account.ca_file))
    pool = urllib3.PoolManager(ssl_context=context, retries=False)
    token = credential.get_token(f"{account.url}/.default").token
    site = account.site
    base = (
        f"{account.url}/subscriptions/{site.subscription}/resourceGroups/{site.resource_group}"
        "/providers/Microsoft.MachineLearningServices/workspaces/edgectl-ml"
    )

    def ask(
        method: str, path: str, body: Any = None, *, version: str = VERSION, bearer: str = token
    ) -> Any:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        data = None if body is None else json.dumps(body).encode()
        url = f"{base}{path}" + (f"?api-version={version}" if version else "")
        return pool.request(method, url, body=data, headers=headers)

    yield ask
    pool.clear()


def code(answer: Any) -> tuple[int, str]:
    return answer.status, json.loads(answer.data)["error"]["code"]


def test_the_sdk_streams_and_downloads_what_a_job_leaves(
    ml: Any, job: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from azure.ai.ml import Input, Output  # noqa: PLC0415 - slow to import

    (tmp_path / "rows.csv").write_text("1,2")
    script = (
        "import sys, pathlib\nprint('read', open(sys.argv[1]).read(), sys.argv[3], flush=True)\n"
        "pathlib.Path('outputs/a.txt').write_text('a')\n"
        "pathlib.Path(sys.argv[2], 'b.txt').write_text('b')\n"
    )
    line = "python main.py ${{inputs.rows}} ${{outputs.extra}} ${{inputs.rate}}"
    made = ml.jobs.create_or_update(
        job(
            script,
            line,
            inputs={"rows": Input(type="uri_file", path=str(tmp_path / "rows.csv")), "rate": 0.1},
            outputs={"extra": Output(type="uri_folder")},
        )
    )
    ml.jobs.stream(made.name)
    assert "Execution Summary" in capsys.readouterr().out
    ml.jobs.download(made.name, download_path=str(tmp_path / "down"), all=True)
    down = tmp_path / "down"
    assert (down / "artifacts/outputs/a.txt").read_text() == "a"
    assert (down / "named-outputs/extra/b.txt").read_text() == "b"
    assert (down / "artifacts/user_logs/std_log.txt").read_text() == "read 1,2 0.1\n"


def test_a_failed_job_says_why(ml: Any, job: Callable[..., Any]) -> None:
    from azure.ai.ml.exceptions import JobException  # noqa: PLC0415 - slow to import

    made = ml.jobs.create_or_update(job("raise SystemExit('no luck')"))
    with pytest.raises(JobException, match=r"exited with status code 1(.|\n)*no luck"):
        ml.jobs.stream(made.name)
    assert ml.jobs.get(made.name).status == "Failed"


def test_a_job_is_canceled_once(ml: Any, job: Callable[..., Any]) -> None:
    made = ml.jobs.create_or_update(job("import time\ntime.sleep(600)"))
    ml.jobs.begin_cancel(made.name).result(60)
    assert ml.jobs.get(made.name).status == "Canceled"
    with pytest.raises(HttpResponseError, match="terminal state 'Canceled'"):
        ml.jobs.begin_cancel(made.name)


def test_a_jobs_name_is_used_once(ml: Any, job: Callable[..., Any]) -> None:
    ml.jobs.create_or_update(job("print(1)"))
    with pytest.raises(HttpResponseError, match="A job with this name already exists"):
        ml.jobs.create_or_update(job("print(2)"))


def test_jobs_are_listed_newest_first(ml: Any, job: Callable[..., Any], name: str) -> None:
    for number in range(2):
        made = job("print(1)")
        made.name = f"{name}-{number}"
        ml.jobs.create_or_update(made)
    listed = [one.name for one in ml.jobs.list() if one.name.startswith(name)]
    assert listed == [f"{name}-1", f"{name}-0"]


def test_a_list_of_many_versions_has_pages(ml: Any, name: str, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Model  # noqa: PLC0415 - slow to import

    (tmp_path / "m").write_text("m")
    first = ml.models.create_or_update(Model(name=name, version="1", path=str(tmp_path / "m")))
    for number in range(2, 53):
        made = Model(name=name, version=str(number), path=first.path)
        ml.models.create_or_update(made)
    listed = [one.version for one in ml.models.list(name)]
    assert listed == [str(number) for number in range(52, 0, -1)]
    assert ml.models.get(name, label="latest").version == "52"


def test_an_asset_keeps_its_place_and_its_properties(call: Callable[..., Any], ml: Any) -> None:
    from azure.ai.ml.entities import Environment  # noqa: PLC0415 - slow to import

    ml.environments.create_or_update(Environment(name="env", version="1", image="a.test/b:1"))
    moved = Environment(name="env", version="1", image="a.test/b:2")
    with pytest.raises(HttpResponseError, match="Asset paths cannot be updated"):
        ml.environments.create_or_update(moved)
    place = "/environments/env/versions/1"
    assert call("PUT", place, {"properties": {"properties": {"a": "1"}}}).status == 200
    assert code(call("PUT", place, {"properties": {"properties": {"a": "2"}}})) == (
        400,
        "UserError",
    )


def test_a_model_of_a_jobs_output_names_the_job(
    ml: Any, job: Callable[..., Any], name: str
) -> None:
    from azure.ai.ml.entities import Model  # noqa: PLC0415 - slow to import

    script = "open('outputs/m.onnx', 'w').write('m')"
    made = ml.jobs.create_or_update(job(script))
    deadline = time.monotonic() + 60
    while ml.jobs.get(made.name).status != "Completed":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    path = f"azureml://jobs/{made.name}/outputs/artifacts/paths/outputs/m.onnx"
    assert ml.models.create_or_update(Model(name=name, path=path)).job_name == made.name
    with pytest.raises(HttpResponseError, match="no blobs found in storage"):
        ml.models.create_or_update(Model(name=name, path=path.replace("m.onnx", "n.onnx")))


JOB = {"jobType": "Command", "command": "true", "computeId": "/computes/cpu-cluster"}
ENVIRONMENT = "/x/environments/none/versions/1"


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"jobType": "Pipeline"}, (400, "UserError")),
        ({**JOB}, (400, "ValidationError")),
        ({**JOB, "environmentId": ENVIRONMENT, "colour": "red"}, (400, "ValidationError")),
        ({**JOB, "environmentId": ENVIRONMENT, "command": " "}, (400, "ValidationError")),
        ({**JOB, "environmentId": "none"}, (400, "ValidationError")),
        ({**JOB, "environmentId": ENVIRONMENT}, (404, "UserError")),
        (
            {
                **JOB,
                "environmentId": ENVIRONMENT,
                "limits": {"jobLimitsType": "Command", "timeout": "soon"},
            },
            (400, "ValidationError"),
        ),
    ],
)
def test_a_job_that_cannot_run_is_refused(
    call: Callable[..., Any], name: str, properties: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert code(call("PUT", f"/jobs/{name}", {"properties": properties})) == expected


def test_a_request_without_token_or_version_is_refused(call: Callable[..., Any]) -> None:
    assert code(call("GET", "/jobs", bearer="")) == (401, "InvalidAuthenticationToken")
    assert code(call("GET", "/jobs", bearer="x.y.z")) == (401, "InvalidAuthenticationToken")
    assert code(call("GET", "/jobs", version="")) == (400, "MissingApiVersionParameter")
    assert code(call("GET", "/jobs", version="new")) == (400, "InvalidApiVersionParameter")


def test_a_token_for_another_service_is_refused(call: Callable[..., Any], credential: Any) -> None:
    other = credential.get_token("https://iothubs.azure.net/.default").token
    answer = call("GET", "/jobs", bearer=other)
    assert code(answer) == (401, "InvalidAuthenticationTokenAudience")


def test_what_was_not_built_is_refused_by_name(call: Callable[..., Any]) -> None:
    answer = call("GET", "/schedules")
    assert answer.status == 501
    assert "/schedules" in json.loads(answer.data)["error"]["message"]


def test_what_is_not_there_is_not_found(ml: Any) -> None:
    for look in (
        lambda: ml.jobs.get("nothing"),
        lambda: ml.models.get("nothing", "1"),
        lambda: ml.datastores.get("nothing"),
        lambda: ml.compute.get("nothing"),
    ):
        with pytest.raises(ResourceNotFoundError):
            look()


def test_a_duration_is_read() -> None:
    assert parse_duration("P1DT2H3M4.5S").total_seconds() == 93_784.5
    assert parse_duration("PT60S").total_seconds() == 60
