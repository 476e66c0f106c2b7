"""The vocabulary: frozen records that pass from step to step.

Project file → TrainedModel → ModelVersion → Package → Release → Plan → Wave → DeviceStatus →
TelemetryRecord. Each has one owner and each step needs only the record before it. What goes to
the device or comes from it stands in ``edge_components.contract``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from edge_components.contract.package import TensorSpec, Variant
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import State

Scalar = str | int | float | bool
Approval = Literal["pending", "approved", "rejected"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of what crosses a boundary: frozen, keyword-only."""


class TrainedModel(Record, frozen=True, kw_only=True):
    """What training left.

    Attributes:
        model: The ONNX file, on this machine.
        metrics: What the training measured, by name.
        inputs: Digest of each training input, by name (``sha256:…``; a folder's digest covers
            its files' paths and contents).
        command: What was run.
        revision: The project's git revision, or "".
        job: The provider's name for the training job, or "".
    """

    model: Path
    metrics: dict[str, float] = {}
    inputs: dict[str, str] = {}
    command: tuple[str, ...] = ()
    revision: str = ""
    job: str = ""


class ModelVersion(Record, frozen=True, kw_only=True):
    """A registered model: immutable but for its approval; found by digest.

    Attributes:
        digest: The digest of the original ONNX file (external data included).
        golden: The golden set that goes along, or None.
    """

    name: str
    version: str
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: dict[str, int]
    ir_version: int
    metrics: dict[str, float] = {}
    variants: tuple[Variant, ...] = ()
    golden_digest: str = ""
    trained: TrainedModel | None = None
    approval: Approval = "pending"
    stage: str = ""


class Package(Record, frozen=True, kw_only=True):
    """A package in a local OCI layout.

    Attributes:
        layout: The folder of the OCI layout.
        digest: The manifest's digest: the package's name everywhere.
        size_bytes: All files together.
        sizes: Bytes of weights per precision.
        signed_by: The key's hint, or "" for an unsigned package.
    """

    application: str
    version: str
    layout: Path
    digest: str
    size_bytes: int
    sizes: dict[str, int] = {}
    signed_by: str = ""


class DeltaFile(Record, frozen=True, kw_only=True):
    """How one file of a package is made from one of an earlier package.

    Attributes:
        old: Digest of the file that a device has to have.
        new: Digest of the file that comes out.
        digest: Of the delta, a blob of the package's layout.
        size: Its bytes.
    """

    old: str
    new: str
    digest: str
    size: int


class Delta(Record, frozen=True, kw_only=True):
    """Deltas that devices with an earlier package may fetch in place of whole files.

    Nobody has to believe them: what they make is checked against the signed package.

    Attributes:
        digest: The digest of their manifest, which refers to the package, in its layout.
        package: The earlier package.
    """

    digest: str
    package: str
    files: tuple[DeltaFile, ...]


class Release(Record, frozen=True, kw_only=True):
    """A signed release.

    Attributes:
        document: What was signed.
        envelope: The DSSE envelope's bytes, as devices get them.
        signature: The package's Sigstore bundle, as devices get it.
    """

    document: ReleaseDocument
    envelope: bytes
    signature: bytes

    @property
    def application(self) -> str:
        """The application's name."""
        return self.document.application

    @property
    def number(self) -> int:
        """The release's number."""
        return self.document.number

    @property
    def package(self) -> str:
        """The package's digest."""
        return self.document.package


class Target(Record, frozen=True, kw_only=True):
    """A named group of devices on one provider.

    Attributes:
        selector: The provider's own way to find the devices.
        hardware: The profile of devices that do not say theirs, or None.
        after: Targets that have to be healthy with a release before this one gets it.
        gate_soak_s: How long they have to stay so.
        needs_approval: Whether an operator has to say that it may begin.
    """

    name: str
    provider: str
    selector: dict[str, str | dict[str, str] | list[str]] = {}
    hardware: str | None = None
    after: tuple[str, ...] = ()
    gate_soak_s: float = 0.0
    needs_approval: bool = False


class Device(Record, frozen=True, kw_only=True):
    """One place that runs the model."""

    id: str
    name: str = ""
    hardware: str | None = None
    labels: dict[str, str] = {}
    last_seen: float | None = None


class DeviceStatus(Record, frozen=True, kw_only=True):
    """Where a device stands.

    Attributes:
        release: The release that the state is about; 0 for none.
        since: When the state began, seconds since 1970 UTC, by the provider's clock; or None.
        raw: The vendor's own code or word, kept.
        active_release: The release that answers now, 0 for none, None where it is not known.
        active_package: The digest that answers now, or "".
    """

    device: str
    state: State
    release: int = 0
    reason: str = ""
    detail: str = ""
    since: float | None = None
    raw: str = ""
    active_release: int | None = None
    active_package: str = ""
    variant: str = ""
    execution_provider: str = ""


class ReleaseRecord(Record, frozen=True, kw_only=True):
    """A release as the provider remembers it."""

    number: int
    package: str
    version: str
    content: str
    created_at: float | None = None


class Limits(Record, frozen=True, kw_only=True):
    """What a provider allows; None is no limit that matters here."""

    max_package_bytes: int | None = None
    max_file_bytes: int | None = None
    max_devices_per_call: int | None = None
    calls_per_second: float | None = None


class Pace(Record, frozen=True, kw_only=True):
    """What a rollout policy says that a provider can keep to by itself, while nobody watches.

    Attributes:
        concurrency: How many devices may be at it at the same time; None for all.
        failure_percent: The share of devices that may fail; None where the policy names none.
        min_devices: How many devices must have come to an end before the share is judged.
        timeout_s: Seconds for the whole rollout.
    """

    concurrency: int | None = None
    failure_percent: float | None = None
    min_devices: int = 1
    timeout_s: float | None = None


class Capabilities(Record, frozen=True, kw_only=True):
    """What a provider can do by itself, and its limits.

    What it cannot, core's engine does; what nobody can is refused at plan time.

    Attributes:
        device_rollback: A device that fails returns to its version before by itself.
        pace: It keeps to ``DeployRequest.pace`` by itself, so it is told; core's engine counts
            all the same.
        withdraw: The application can be removed from devices.
        telemetry: Records can be read back.
        emulator: The provider ships one.
        network: Devices keep to the limits of a target's network, because our software fetches
            for them, or the provider's own keeps to them.
        deltas: Devices fetch what ``PackageRequest.deltas`` names, where they have the old files.
    """

    device_rollback: bool = True
    pace: bool = False
    withdraw: bool = True
    telemetry: bool = True
    emulator: bool = False
    network: bool = False
    deltas: bool = False
    limits: Limits = Limits()


class Finding(Record, frozen=True, kw_only=True):
    """One line of ``edgectl doctor``."""

    name: str
    ok: bool
    detail: str = ""
    hint: str = ""
