"""The fixtures of the conformance kit, and the few steps that its tests share.

Every test works with an application of its own, so tests do not meet each other's releases on a
backend that lives longer than one test.
"""

# ruff: noqa: S101 - a test asserts

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edge_components.contract.delta import DELTA_NEW, DELTA_OLD, DELTA_TYPE
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import Descriptor, TensorSpec, Variant, layer_paths
from edge_components.contract.release import DeviceSettings, ReleaseDocument
from edgectl.package.build import PackageContent, build_package
from edgectl.package.deltas import keep_deltas
from edgectl.package.keys import SigningKey
from edgectl.package.sign import sign_package, sign_release
from edgectl.package.store import Layout
from edgectl.provider import Provider
from edgectl.records import Delta, DeviceStatus, ModelVersion, Package, Release, Target
from edgectl.requests import (
    DeployRequest,
    DeployResult,
    HistoryRequest,
    InventoryRequest,
    ObserveRequest,
    PackageRequest,
    RegisterRequest,
    TrainRequest,
)
from edgectl.testing.conformance.model import identity_model

MODEL_PATH = "model/fp32/model.onnx"
_TRAINING = """
import json, os, pathlib
print("training", flush=True)
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(b"a model")
pathlib.Path(os.environ["EDGECTL_OUTPUT_METRICS"]).write_text(json.dumps({"accuracy": 0.5}))
"""


class MakeRelease(Protocol):
    """Makes a signed release of a package; without a number, the next one."""

    def __call__(
        self,
        package: Package,
        number: int | None = None,
        settings: DeviceSettings = DeviceSettings(),  # noqa: B008 - frozen
    ) -> Release:
        """Return the release."""


Settle = Callable[[Release], dict[str, DeviceStatus]]
_LISTED_S = 30.0


def settle_with(settle: Settle, release: Release, *devices: str) -> dict[str, DeviceStatus]:
    """Let devices work until these have the release too: a provider may list them late."""
    deadline = time.monotonic() + _LISTED_S
    while not (states := settle(release)).keys() >= set(devices):
        if time.monotonic() > deadline:
            pytest.fail(f"{', '.join(devices)} should be listed: {states}")
        time.sleep(0.02)
    return states


class Fixtures:
    """What the tests need; override what your provider needs otherwise.

    Attributes:
        settle_timeout_s: How long the default ``settle`` waits.
    """

    settle_timeout_s = 60.0

    @pytest.fixture
    def provider(self) -> Provider:
        """Your provider, opened (``edgectl.api.provider_from_plugin``). Has to be overridden."""
        raise NotImplementedError("override the fixture `provider`")

    @pytest.fixture
    def target(self) -> Target:
        """A target with at least two devices. Has to be overridden."""
        raise NotImplementedError("override the fixture `target`")

    @pytest.fixture
    def empty_target(self) -> Target | None:
        """A target whose selector finds nothing; None skips what needs it."""
        return None

    @pytest.fixture
    def second_provider(self, provider: Provider) -> Provider:
        """The same provider as a second operator opens it, for what operators share."""
        return provider

    @pytest.fixture
    def secrets(self) -> tuple[str, ...]:
        """Tokens and passwords of this run, which must not appear in any message."""
        return ()

    @pytest.fixture
    def application(self) -> str:
        """The application's name, another one for every test."""
        return f"kit-{uuid.uuid4().hex[:10]}"

    @pytest.fixture
    def devices(self, provider: Provider, target: Target) -> tuple[str, ...]:
        """Two devices of the target."""
        need(provider, "inventory")
        found = tuple(d.id for d in provider.inventory(InventoryRequest(target=target)))
        assert len(found) >= 2, "the target of the conformance tests needs two devices"
        return found[:2]

    @pytest.fixture
    def key(self) -> SigningKey:
        """The publisher's key; the devices have to trust it."""
        return SigningKey(ec.generate_private_key(ec.SECP256R1()))

    @pytest.fixture
    def make_package(
        self, application: str, key: SigningKey, tmp_path: Path
    ) -> Callable[[str], Package]:
        """Build and sign a small package of a version."""

        def make(version: str) -> Package:
            return build_tiny_package(application, version, tmp_path, key)

        return make

    @pytest.fixture
    def package(self, make_package: Callable[[str], Package]) -> Package:
        """A package in a local layout."""
        return make_package("1.0.0")

    @pytest.fixture
    def release_factory(
        self, provider: Provider, target: Target, application: str, key: SigningKey
    ) -> MakeRelease:
        """Make signed releases."""

        def make(
            package: Package,
            number: int | None = None,
            settings: DeviceSettings = DeviceSettings(),  # noqa: B008 - frozen
        ) -> Release:
            document = ReleaseDocument(
                application=application,
                number=next_number(provider, target, application) if number is None else number,
                version=package.version,
                package=package.digest,
                settings=settings,
            )
            signature = sign_package(package.layout, package.digest, key)
            return sign_release(document, signature, key)

        return make

    @pytest.fixture
    def settle(self, provider: Provider, target: Target) -> Settle:
        """Let the devices work until all that have the release are settled; the last states."""

        def wait(release: Release) -> dict[str, DeviceStatus]:
            deadline = time.monotonic() + self.settle_timeout_s
            while True:
                states = observe(provider, target, release)
                if all(status.state.is_settled for status in states.values()):
                    return states
                if time.monotonic() > deadline:
                    pytest.fail(f"devices did not settle: {states}")
                time.sleep(0.02)

        return wait

    @pytest.fixture
    def train_request(self, tmp_path: Path) -> TrainRequest:
        """A training that succeeds; its script prints ``training``."""
        (tmp_path / "train.py").write_text(_TRAINING)
        (tmp_path / "data.csv").write_text("1,2\n")
        return TrainRequest(
            name="kit",
            version="1.0.0",
            project_dir=tmp_path,
            command=(sys.executable, "train.py"),
            inputs={"data": tmp_path / "data.csv"},
            model=tmp_path / "out" / "model.onnx",
            metrics=tmp_path / "out" / "metrics.json",
        )

    @pytest.fixture
    def register_request(self, application: str, tmp_path: Path) -> RegisterRequest:
        """A model version to register."""
        model = tmp_path / "register.onnx"
        model.write_bytes(identity_model(seed=application))
        return RegisterRequest(
            version=model_version(application, "1.0.0", model), files={MODEL_PATH: model}
        )


def build_tiny_package(application: str, version: str, folder: Path, key: SigningKey) -> Package:
    """Build and sign a package around a model that returns its input.

    Args:
        application: The application's name.
        version: Its version; another one gives other content.
        folder: Gets the layout and the model.
        key: Signs the package.
    """
    model = folder / f"{application}-{version}.onnx"
    model.write_bytes(identity_model(seed=f"{application} {version}"))
    layout = folder / "layout"
    package = build_package(
        PackageContent(
            application=application,
            version=version,
            model=model_version(application, version, model),
            files={MODEL_PATH: model},
        ),
        layout,
    )
    sign_package(layout, package.digest, key)
    return msgspec.structs.replace(package, signed_by=key.hint)


def keep_tiny_delta(package: Package) -> Delta:
    """Put a delta to a package's model beside it; nobody could apply it, which no provider sees."""
    store = Layout.open(package.layout)
    data = f"a delta to {package.digest}".encode()
    model = layer_paths(store.read_manifest(package.digest))[MODEL_PATH]
    content = store.add_bytes(data)
    layer = Descriptor(
        media_type=DELTA_TYPE,
        digest=content.digest,
        size=content.size,
        annotations={DELTA_OLD: sha256_digest(b"the model before"), DELTA_NEW: model.digest},
    )
    return keep_deltas(store, package.digest, sha256_digest(b"the package before"), (layer,))


def model_version(name: str, version: str, model: Path) -> ModelVersion:
    """Describe the model that returns its input."""
    tensor = TensorSpec(name="x", datatype="FP32", shape=(1, 4))
    content = model.read_bytes()
    variant = Variant(
        precision="fp32",
        path=MODEL_PATH,
        files=(MODEL_PATH,),
        size_bytes=len(content),
        atol=1e-5,
        rtol=1e-5,
    )
    return ModelVersion(
        name=name,
        version=version,
        digest=sha256_digest(content),
        inputs=(tensor,),
        outputs=(msgspec.structs.replace(tensor, name="y"),),
        opset={"": 17},
        ir_version=8,
        variants=(variant,),
    )


def next_number(provider: Provider, target: Target, application: str) -> int:
    """Return the number of the application's next release at the provider."""
    if not provider.supports("history"):
        return 1
    request = HistoryRequest(target=target, application=application)
    return max((record.number for record in provider.history(request)), default=0) + 1


def observe(
    provider: Provider,
    target: Target,
    release: Release,
    devices: tuple[str, ...] | None = None,
) -> dict[str, DeviceStatus]:
    """Return where each device stands with a release."""
    request = ObserveRequest(
        target=target, application=release.application, release=release.number, devices=devices
    )
    states = list(provider.observe(request))
    by_device = {status.device: status for status in states}
    assert len(by_device) == len(states), "a device was listed twice"
    return by_device


def give(
    provider: Provider, target: Target, package: Package, release: Release, *devices: str
) -> DeployResult:
    """Bring a release to the provider and give it to devices."""
    provider.package(PackageRequest(target=target, package=package, release=release))
    return provider.deploy(
        DeployRequest(target=target, package=package, release=release, devices=devices)
    )


def need(provider: Provider, *hooks: str) -> None:
    """Skip the test if the provider leaves one of these hooks out."""
    for hook in hooks:
        if not provider.supports(hook):
            pytest.skip(f"the provider does not implement `{hook}`")
