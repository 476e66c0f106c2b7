"""The hooks of a provider: this page is the plugin author's reference.

A provider is a class, named in the entry-point group ``edgectl.providers``, whose methods are
marked with ``edgectl.api.hookimpl``. It is made with its own part of the project file
(``config_type``, a msgspec type) and a ``ProviderContext``. Every hook takes one ``request`` and
returns one result; a provider that cannot do a thing leaves the hook out (callers get an
``UnsupportedError``). Rules for all hooks:

- idempotent: the same request twice changes nothing the second time;
- errors are ``EdgectlError`` subclasses with the vendor's code kept; anything else is a bug;
- nothing that the provider's plugin did not make is changed or removed;
- the vendor's SDK is imported inside the hook, never with the plugin's module;
- hooks that only read change nothing: a dry run calls ``inventory``, ``observe``, ``history``,
  ``preview``, ``telemetry``, ``approval``, ``check``, ``capabilities`` and a reading
  ``coordinate``, and none of the others.
"""

from __future__ import annotations

import pluggy

from edgectl.records import Capabilities, ModelVersion, TrainedModel
from edgectl.requests import (
    ApprovalRequest,
    ApprovalResult,
    CapabilitiesRequest,
    CheckRequest,
    CheckResult,
    CoordinateRequest,
    CoordinateResult,
    DeployRequest,
    DeployResult,
    EnrollRequest,
    EnrollResult,
    HistoryPage,
    HistoryRequest,
    InventoryPage,
    InventoryRequest,
    ObservePage,
    ObserveRequest,
    PackageRequest,
    PackageResult,
    PreviewRequest,
    PreviewResult,
    RegisterRequest,
    RetireRequest,
    RetireResult,
    TelemetryPage,
    TelemetryRequest,
    TrainRequest,
    WithdrawRequest,
    WithdrawResult,
)

PROJECT = "edgectl"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def train(request: TrainRequest) -> TrainedModel | None:
    """Run the project's training and bring the model and its metrics to this machine.

    Log lines go to the context's progress while it runs; Ctrl-C stops the job and says so.

    Raises:
        TrainError: The command failed, or left no model; the last lines are in the message.
    """


@hookspec(firstresult=True)
def register(request: RegisterRequest) -> ModelVersion | None:
    """Record a model version at the provider's registry, or set its approval.

    Returns the version with the registry's approval and stage. The same version with the same
    digest again changes nothing.

    Raises:
        ConflictError: The version exists with another digest.
    """


@hookspec(firstresult=True)
def approval(request: ApprovalRequest) -> ApprovalResult | None:
    """Say what the registry holds of a version's approval now; changes nothing.

    ``deploy`` asks before it makes a release, because somebody may have decided since, on another
    machine or in the vendor's own console.
    """


@hookspec(firstresult=True)
def package(request: PackageRequest) -> PackageResult | None:
    """Bring package and release to where the target's devices fetch them.

    Content that is there already is not sent again.

    Raises:
        ConflictError: The release number exists with other content.
        LimitError: A vendor's limit would be exceeded.
    """


@hookspec(firstresult=True)
def preview(request: PreviewRequest) -> PreviewResult | None:
    """Check a package against the vendor's limits for a target, and say what would stay or go.

    A plan asks before anything changes. It is for what only the provider can know: the size of
    the documents that it would make, and what of others is on the target. Documents that a team
    could keep in Git are returned as ``files``. Changes nothing.

    Raises:
        LimitError: A vendor's limit would be exceeded; the message has the limit.
    """


@hookspec(firstresult=True)
def deploy(request: DeployRequest) -> DeployResult | None:
    """Give the release to the named devices and return at once; ``observe`` tells the rest.

    Raises:
        NotFoundError: A device is not known, or ``package`` was not called for the release.
    """


@hookspec(firstresult=True)
def telemetry(request: TelemetryRequest) -> TelemetryPage | None:
    """Read back what the devices told, oldest first, each record once."""


@hookspec(firstresult=True)
def inventory(request: InventoryRequest) -> InventoryPage | None:
    """List the devices that the target's selector finds, in a stable order."""


@hookspec(firstresult=True)
def observe(request: ObserveRequest) -> ObservePage | None:
    """Tell where each device stands, from the device's own words.

    The provider's "deployment status" is never a verdict. A device that was given the release
    and has not answered for long is ``unreachable``; the vendor's raw code is kept in ``raw``.
    The calls grow with pages, not with devices.
    """


@hookspec(firstresult=True)
def history(request: HistoryRequest) -> HistoryPage | None:
    """List the application's releases at the provider, newest first."""


@hookspec(firstresult=True)
def withdraw(request: WithdrawRequest) -> WithdrawResult | None:
    """Take a release back from devices that have not finished it, or remove the application."""


@hookspec(firstresult=True)
def coordinate(request: CoordinateRequest) -> CoordinateResult | None:
    """Compare and swap a short shared text (at most 400 characters) of a target.

    Operators use it for the lease on a target and for pausing a rollout from another machine.
    Of two swaps with the same expectation at the same time exactly one succeeds.
    """


@hookspec(firstresult=True)
def check(request: CheckRequest) -> CheckResult | None:
    """Check credentials, permissions and prerequisites; changes nothing."""


@hookspec(firstresult=True)
def capabilities(request: CapabilitiesRequest) -> Capabilities | None:
    """Say what the provider can do by itself, and its limits. No network."""


@hookspec(firstresult=True)
def enroll(request: EnrollRequest) -> EnrollResult | None:
    """Make a device known and return the files that it needs to come up.

    Enrolling a known name again returns its files anew.
    """


@hookspec(firstresult=True)
def retire(request: RetireRequest) -> RetireResult | None:
    """Forget a device at the provider."""
