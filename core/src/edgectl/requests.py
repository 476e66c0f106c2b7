"""What goes into a hook and what comes out: one request record, one frozen result.

Where there can be many results, the request carries a ``cursor`` ("" for the first page) and the
result says where the next page begins ("" for none).
"""

from __future__ import annotations

from pathlib import Path

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.records import (
    Approval,
    Device,
    DeviceStatus,
    Finding,
    ModelVersion,
    Package,
    Record,
    Release,
    ReleaseRecord,
    Target,
)


class TrainRequest(Record):
    """Run the project's own training.

    Attributes:
        project_dir: The command's working folder.
        command: Program and arguments; never given to a shell.
        inputs: Files and folders by name, absolute.
        model: Where the command leaves the ONNX file, absolute.
        metrics: Where the command leaves a JSON object of numbers, absolute, or None.
    """

    name: str
    version: str
    project_dir: Path
    command: tuple[str, ...]
    inputs: dict[str, Path] = {}
    model: Path
    metrics: Path | None = None


class RegisterRequest(Record):
    """Record a model version that passed its gates, or change its approval.

    Attributes:
        files: The version's files by package path, on this machine.
        approval: What the operator decided, or None to leave it as it is.
    """

    version: ModelVersion
    files: dict[str, Path]
    approval: Approval | None = None


class PackageRequest(Record):
    """Bring a package and its release to where the target's devices can get them."""

    target: Target
    package: Package
    release: Release


class PackageResult(Record):
    """Where the package is now, in the provider's words; ``uploaded_bytes`` really travelled."""

    location: str
    uploaded_bytes: int = 0


class DeployRequest(Record):
    """Give the release to these devices of the target; others stay as they are."""

    target: Target
    release: Release
    package: Package
    devices: tuple[str, ...]


class DeployResult(Record):
    """Which devices were newly given the release, and which had it already."""

    assigned: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


class InventoryRequest(Record):
    """The devices of a target."""

    target: Target
    cursor: str = ""


class InventoryPage(Record):
    """Some devices, each device of the target on exactly one page."""

    devices: tuple[Device, ...]
    next: str = ""


class ObserveRequest(Record):
    """Where each device of a target stands.

    Attributes:
        release: The release to ask about; None asks for whatever each device did last.
        devices: Only these, or None for all.
    """

    target: Target
    application: str
    release: int | None = None
    devices: tuple[str, ...] | None = None
    cursor: str = ""


class ObservePage(Record):
    """Some states, at most one a device over all pages; a device that was never given the
    release is not listed.
    """

    states: tuple[DeviceStatus, ...]
    next: str = ""


class HistoryRequest(Record):
    """The releases that the provider remembers for an application, newest first."""

    target: Target
    application: str
    cursor: str = ""


class HistoryPage(Record):
    """Some releases, newest first over all pages."""

    releases: tuple[ReleaseRecord, ...]
    next: str = ""


class WithdrawRequest(Record):
    """Stop giving the release to devices that have not finished it (``release``), or remove the
    application (None).
    """

    target: Target
    application: str
    release: int | None = None
    devices: tuple[str, ...] | None = None


class WithdrawResult(Record):
    """Devices for which something was taken back."""

    devices: tuple[str, ...] = ()


class CoordinateRequest(Record):
    """Read, or swap atomically, a short text that all operators of a target share.

    Attributes:
        key: ``lease`` or ``control``.
        read_only: Only read.
        expect: What has to stand there for the swap; None: nothing.
        value: What shall stand there; None: nothing.
    """

    target: Target
    application: str
    key: str
    read_only: bool = False
    expect: str | None = None
    value: str | None = None


class CoordinateResult(Record):
    """What stands there now, and whether this request put it there."""

    value: str | None = None
    swapped: bool = False


class TelemetryRequest(Record):
    """Records that came up from a target's devices, oldest first."""

    target: Target
    application: str
    kind: Kind | None = None
    device: str | None = None
    since_unix_ns: int = 0
    limit: int = 500
    cursor: str = ""


class TelemetryPage(Record):
    """Some records, oldest first over all pages."""

    records: tuple[TelemetryRecord, ...]
    next: str = ""


class CheckRequest(Record):
    """Check credentials and prerequisites for these targets."""

    targets: tuple[Target, ...] = ()


class CheckResult(Record):
    """What was found; all ``ok`` means that a deploy can start."""

    findings: tuple[Finding, ...]


class CapabilitiesRequest(Record):
    """Ask what the provider can do."""


class EnrollRequest(Record):
    """Make a device known to the provider.

    Attributes:
        publisher_key: The PEM public key whose signatures the device shall trust.
        application: What the device will run.
    """

    target: Target
    application: str
    name: str
    hardware: str
    publisher_key: str
    labels: dict[str, str] = {}


class EnrollResult(Record):
    """The device, and the files that it needs: name to content. They may hold its secret."""

    device: Device
    files: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class RetireRequest(Record):
    """Forget a device at the provider."""

    target: Target
    device: str


class RetireResult(Record):
    """Whether it was known."""

    removed: bool
