"""A training as a Job: what goes along, what may come back, and the program in the container."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from edgectl.api import ProjectError, TrainRequest, push_artifact, read_artifact, sha256_digest
from edgectl.emulation.registry import RegistryServer
from edgectl_gke_edge import training
from edgectl_gke_edge.config import GkeConfig, RuntimeConfig, TrainingConfig
from edgectl_gke_edge.render import trial_pod

CONFIG = GkeConfig(
    registry="us-docker.pkg.dev/p/edge",
    project="p",
    training=TrainingConfig(image="train:1", gpus=2, environment={"SEED": "1"}),
    runtime=RuntimeConfig(pull_secrets=("login",)),
)


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    return TrainRequest(
        name="plates",
        version="1",
        project_dir=tmp_path,
        command=("python", "train.py"),
        model=tmp_path / "out" / "model.onnx",
        metrics=tmp_path / "metrics.json",
    )


def order(request: TrainRequest, config: GkeConfig = CONFIG) -> training.Order:
    return training.make_order(config, request, "sha256:" + "a" * 64, ())


def test_the_same_training_has_the_same_digest_and_another_one_another(
    request_: TrainRequest,
) -> None:
    assert order(request_).digest == order(request_).digest
    other = training.make_order(CONFIG, request_, "sha256:" + "b" * 64, ())
    assert other.mark != order(request_).mark


def test_without_an_image_there_is_no_training(request_: TrainRequest) -> None:
    config = GkeConfig(registry="us-docker.pkg.dev/p/edge", project="p")
    with pytest.raises(ProjectError, match=r"training\.image is not set"):
        order(request_, config)


def test_a_job_is_named_for_kubernetes_and_ends_by_itself(request_: TrainRequest) -> None:
    name = training.job_name(order(request_), "260101000000")
    config_map, job = training.documents(CONFIG, order(request_), name)
    assert len(name) <= 63
    assert config_map["metadata"]["name"] == job["metadata"]["name"] == name
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] == CONFIG.training.timeout_s
    assert trial_pod(job)["spec"] == job["spec"]["template"]["spec"]


def test_the_pod_of_a_training_is_restricted_and_asks_for_its_gpus(
    request_: TrainRequest,
) -> None:
    spec = training.pod_spec(CONFIG, "job")
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["imagePullSecrets"] == [{"name": "login"}]
    assert {"name": "SEED", "value": "1"} in container["env"]
    told = json.loads(training.job_json(CONFIG, order(request_), "job"))
    assert (told["registry"], told["repository"]) == (
        "https://us-docker.pkg.dev",
        "p/edge/plates/training",
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("out/model.onnx", True),
        ("out/golden.npz", True),
        ("metrics.json", True),
        ("train.py", False),
        ("out/kept.txt", False),
        ("../evil", False),
        ("/etc/passwd", False),
        ("out/../../evil", False),
        ("out/.git/config", False),
        ("out\\evil", False),
        ("elsewhere/file", False),
    ],
)
def test_only_outputs_come_back_and_nothing_of_the_project_is_overwritten(
    request_: TrainRequest, name: str, wanted: bool
) -> None:
    sources = {"train.py", "out/kept.txt"}
    assert training.may_come_back(name, order(request_), sources) is wanted


def test_an_archive_of_the_same_files_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    files = {"x/a": tmp_path / "a", "b": tmp_path / "b"}
    first = training.pack_bytes(files)
    (tmp_path / "a").touch()
    assert training.pack_bytes(dict(reversed(files.items()))) == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["b", "x/a"]


def test_the_program_in_the_container_trains_and_pushes_what_it_left(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text(
        "import os, pathlib\n"
        "data = pathlib.Path(os.environ['EDGECTL_INPUT_DATA']).read_text()\n"
        "pathlib.Path(os.environ['EDGECTL_OUTPUT_MODEL']).write_text(data * 2)\n"
        "pathlib.Path('out/golden.npz').write_text('g')\n"
        "pathlib.Path('elsewhere.txt').write_text('no')\n"
    )
    (tmp_path / "data.csv").write_text("1,2")
    archive = training.pack_bytes({"train.py": source / "train.py"})
    with RegistryServer(tmp_path / "registry") as server:
        place = f"{server.host}/edge/plates/training"
        push_artifact(place, training.SOURCE_KIND, {training.SOURCE_FILE: archive})
        given = push_artifact(place, training.SOURCE_KIND, {"data.csv": tmp_path / "data.csv"})
        job = {
            "registry": server.url,
            "repository": "edge/plates/training",
            "tag": "job-1",
            "source": sha256_digest(archive),
            "command": ["python", "train.py"],
            "inputs": {
                "EDGECTL_INPUT_DATA": {
                    "name": "data",
                    "digest": given.files[0].digest,
                    "file": "data.csv",
                    "path": "data/data.csv",
                }
            },
            "model": "out/model.onnx",
            "metrics": "",
        }
        (tmp_path / "job.json").write_text(json.dumps(job))
        (tmp_path / "start.py").write_text(training.start_script())
        command = [sys.executable, "start.py", "job.json", str(tmp_path / "work" / "project")]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        found = read_artifact(f"{place}:job-1")
    assert found is not None
    assert {file.name for file in found.files} == {"out/model.onnx", "out/golden.npz"}
    file = found.file("out/model.onnx")
    assert file is not None
    assert file.digest == sha256_digest(b"1,21,2")
