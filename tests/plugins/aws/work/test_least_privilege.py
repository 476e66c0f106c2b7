"""The policies of docs/providers/aws.md are enough; the emulated account holds callers to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgectl import api
from edgectl.api import AuthError, Provider, Target, TrainRequest
from edgectl.package.keys import SigningKey
from edgectl.package.sign import sign_package, sign_release
from edgectl.testing.conformance.base import build_tiny_package

TEXT = (Path(__file__).parents[4] / "docs/providers/aws.md").read_text()
DEPLOY = "Policy for deploying"
TRAIN = "Policy for training and registering"
APPROVE = "Policy for approving"
DEVICES = "Policy for adding devices"

As = Callable[..., Provider]


@pytest.fixture
def as_user(site: Any, open_aws: Any, unique: str, monkeypatch: pytest.MonkeyPatch) -> As:
    """Open the provider with the credentials of a user who has these policies only."""

    def opened(*headings: str) -> Provider:
        statements: list[Any] = []
        for heading in headings:
            block = re.search(r"```json\n(.*?)```", TEXT.split(f"### {heading}\n")[1], re.DOTALL)
            assert block is not None
            text = block[1].replace("111122223333", site.cloud.account)
            text = text.replace("my-models", "edgectl-work")
            statements += json.loads(text)["Statement"]
        policy = {"Version": "2012-10-17", "Statement": statements}
        key, secret = site.cloud.callers.new_user(f"{unique}-{len(headings)}", policy)
        provider: Provider = open_aws()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        return provider

    return opened


@pytest.fixture
def request_(project: Path, unique: str) -> TrainRequest:
    (project / "train.py").write_text(
        "import os\nopen(os.environ['EDGECTL_OUTPUT_MODEL'], 'w').write('onnx')\nprint('done')\n"
    )
    (project / "data.csv").write_text(unique)
    return TrainRequest(
        name=f"plates-{unique}",
        version="1",
        project_dir=project,
        command=("python", "train.py"),
        inputs={"data": project / "data.csv"},
        model=project / "out/model.onnx",
    )


class Shop:
    """A package and its releases."""

    def __init__(self, folder: Path, application: str) -> None:
        self._key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
        self.package = build_tiny_package(application, "1.0.0", folder, self._key)

    def release(self, number: int) -> api.Release:
        package = self.package
        document = api.ReleaseDocument(
            application=package.application,
            number=number,
            version=package.version,
            package=package.digest,
        )
        signature = sign_package(package.layout, package.digest, self._key)
        return sign_release(document, signature, self._key)


def test_ci_trains_and_registers(as_user: As, request_: TrainRequest, unique: str) -> None:
    aws = as_user(DEPLOY, TRAIN)
    assert aws.train(request_).model.read_text() == "onnx"
    version = api.ModelVersion(
        name=f"plates-{unique}",
        version="1",
        digest="sha256:" + "a" * 64,
        inputs=(),
        outputs=(),
        opset={"": 17},
        ir_version=8,
    )
    request = api.RegisterRequest(version=version, files={"model.onnx": request_.model})
    assert aws.register(request).approval == "pending"
    with pytest.raises(AuthError, match="sagemaker:UpdateModelPackage is not allowed"):
        aws.register(msgspec.structs.replace(request, approval="approved"))
    assert (
        as_user(APPROVE).register(msgspec.structs.replace(request, approval="approved")).approval
        == "approved"
    )


def test_an_operator_deploys_wave_by_wave_and_looks(
    as_user: As, group: Target, unique: str, tmp_path: Path
) -> None:
    aws = as_user(DEPLOY)
    shop = Shop(tmp_path, f"plates-{unique}")
    release = shop.release(1)
    aws.package(api.PackageRequest(target=group, package=shop.package, release=release))
    devices = sorted(device.id for device in aws.inventory(api.InventoryRequest(target=group)))
    for given in (devices[:1], devices):
        done = aws.deploy(
            api.DeployRequest(
                target=group, release=release, package=shop.package, devices=tuple(given)
            )
        )
        assert done.assigned
    application = shop.package.application
    observed = api.ObserveRequest(target=group, application=application, release=1)
    assert {status.device for status in aws.observe(observed)} == set(devices)
    assert [
        r.number for r in aws.history(api.HistoryRequest(target=group, application=application))
    ]
    swap = api.CoordinateRequest(target=group, application=application, key="lease", value="me")
    assert aws.coordinate(swap).swapped
    list(aws.telemetry(api.TelemetryRequest(target=group, application=application)))
    aws.withdraw(api.WithdrawRequest(target=group, application=application))


def test_doctor_misses_nothing_of_an_operator(as_user: As, group: Target) -> None:
    findings = as_user(DEPLOY).check(api.CheckRequest(targets=(group,)))
    assert [finding for finding in findings if not finding.ok] == []


def test_devices_are_added_and_removed(as_user: As, group: Target, unique: str) -> None:
    aws = as_user(DEVICES)
    request = api.EnrollRequest(
        target=group,
        application=f"plates-{unique}",
        name=f"new-{unique}",
        hardware="x86-64-cpu",
        publisher_key="-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
    )
    assert "device.toml" in aws.enroll(request).files
    assert aws.retire(api.RetireRequest(target=group, device=request.name)).removed


def test_what_is_missing_is_named(as_user: As, request_: TrainRequest) -> None:
    with pytest.raises(AuthError, match=r"[a-z0-9]+:[A-Z][A-Za-z]+ is not allowed"):
        as_user(APPROVE).train(request_)
