"""What goes into a hook and what comes out: one request record, one frozen result.

Where there can be many results, the request carries a ``cursor`` ("" for the first page) and the
result says where the next page begins ("" for none).
"""

from __future__ import annotations

from pathlib import Path

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.records import (
    Approval,
    Delta,
    Device,
    DeviceStatus,
    Finding,
    ModelVersion,
    Pace,
    Package,
    Record,
    Release,
    ReleaseRecord,
    Target,
)


class TrainRequest(Record, frozen=True, kw_only=True):
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


class RegisterRequest(Record, frozen=True, kw_only=True):
    """Record a model version that passed its gates, or change its approval.

    Attributes:
        files: The version's files by package path, on this machine.
        approval: What the operator decided, or None to leave it as it is.
        initial: What a version gets that the registry does not know yet, without a decision.
    """

    version: ModelVersion
    files: dict[str, Path]
    approval: Approval | None = None
    initial: Approval = "pending"


class ApprovalRequest(Record, frozen=True, kw_only=True):
    """Ask what was decided about a registered version."""

    name: str
    version: str


class ApprovalResult(Record, frozen=True, kw_only=True):
    """What was decided; None where the registry does not know the version."""

    approval: Approval | None = None


class PackageRequest(Record, frozen=True, kw_only=True):
    """Bring a package and its release to where the target's devices can get them.

    Attributes:
        deltas: What devices may fetch in place of whole files; none for a provider whose
            capabilities do not name them.
    """

    target: Target
    package: Package
    release: Release
    deltas: tuple[Delta, ...] = ()


class PackageResult(Record, frozen=True, kw_only=True):
    """Where the package is now, in the provider's words; ``uploaded_bytes`` really travelled."""

    location: str
    uploaded_bytes: int = 0


class PreviewRequest(Record, frozen=True, kw_only=True):
    """Look at what deploying a package to a target would do, and change nothing.

    Attributes:
        release: The number that the release would have.
    """

    target: Target
    package: Package
    release: int


class PreviewResult(Record, frozen=True, kw_only=True):
    """What an operator should know before it happens, a sentence each.

    Attributes:
        files: The documents that the provider would make, path to text, for teams that keep them
            in Git (``edgectl plan --write``); none where it makes none that could stand there.
    """

    notes: tuple[str, ...] = ()
    files: dict[str, str] = {}


class DeployRequest(Record, frozen=True, kw_only=True):
    """Give the release to these devices of the target; others stay as they are.

    Attributes:
        pace: What the provider may keep to by itself; only for one that says it can.
    """

    target: Target
    release: Release
    package: Package
    devices: tuple[str, ...]
    pace: Pace | None = None


class DeployResult(Record, frozen=True, kw_only=True):
    """Which devices were newly given the release, and which had it already."""

    assigned: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


class InventoryRequest(Record, frozen=True, kw_only=True):
    """The devices of a target."""

    target: Target
    cursor: str = ""


class InventoryPage(Record, frozen=True, kw_only=True):
    """Some devices, each device of the target on exactly one page."""

    devices: tuple[Device, ...]
    next: str = ""


class ObserveRequest(Record, frozen=True, kw_only=True):
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


class ObservePage(Record, frozen=True, kw_only=True):
    """Some states, at most one a device over all pages.

    A device that was never given the release is not listed.
    """

    states: tuple[DeviceStatus, ...]
    next: str = ""


class HistoryRequest(Record, frozen=True, kw_only=True):
    """The releases that the provider remembers for an application, newest first."""

    target: Target
    application: str
    cursor: str = ""


class HistoryPage(Record, frozen=True, kw_only=True):
    """Some releases, newest first over all pages."""

    releases: tuple[ReleaseRecord, ...]
    next: str = ""


class WithdrawRequest(Record, frozen=True, kw_only=True):
    """Take a release back from devices that have not finished it.

    With ``release`` None the application itself is removed from the devices.
    """

    target: Target
    application: str
    release: int | None = None
    devices: tuple[str, ...] | None = None


class WithdrawResult(Record, frozen=True, kw_only=True):
    """Devices for which something was taken back."""

    devices: tuple[str, ...] = ()


class CoordinateRequest(Record, frozen=True, kw_only=True):
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


class CoordinateResult(Record, frozen=True, kw_only=True):
    """What stands there now, and whether this request put it there."""

    value: str | None = None
    swapped: bool = False


class TelemetryRequest(Record, frozen=True, kw_only=True):
    """Records that came up from a target's devices, oldest first."""

    target: Target
    application: str
    kind: Kind | None = None
    device: str | None = None
    since_unix_ns: int = 0
    limit: int = 500
    cursor: str = ""


class TelemetryPage(Record, frozen=True, kw_only=True):
    """Some records, oldest first over all pages."""

    records: tuple[TelemetryRecord, ...]
    next: str = ""


class CheckRequest(Record, frozen=True, kw_only=True):
    """Check credentials and prerequisites for these targets."""

    targets: tuple[Target, ...] = ()


class CheckResult(Record, frozen=True, kw_only=True):
    """What was found; all ``ok`` means that a deploy can start."""

    findings: tuple[Finding, ...]


class CapabilitiesRequest(Record, frozen=True, kw_only=True):
    """Ask what the provider can do."""


class EnrollRequest(Record, frozen=True, kw_only=True):
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


class EnrollResult(Record, frozen=True, kw_only=True):
    """The device, and the files that it needs: name to content. They may hold its secret."""

    device: Device
    files: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class RetireRequest(Record, frozen=True, kw_only=True):
    """Forget a device at the provider."""

    target: Target
    device: str


class RetireResult(Record, frozen=True, kw_only=True):
    """Whether it was known."""

    removed: bool
