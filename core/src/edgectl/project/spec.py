"""The project file's types: what may stand in ``edgectl.yaml``.

The same types validate the file and make its JSON Schema, so editor and program agree. Paths are
relative to the file's folder. Secrets never stand here; values of ``providers`` may name an
environment variable as ``${NAME}``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Name = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Lower-case letters, digits and dashes, at most 63 characters.",
    ),
]
Version = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,127}$",
        description="A version; quote it, so that 1.10 is not read as a number.",
    ),
]
Path = Annotated[str, Meta(min_length=1, description="A path below the project's folder.")]
Duration = Annotated[
    str | int | float, Meta(description="Seconds, or text such as 90s, 2m, 1h30m.")
]
Rate = Annotated[
    str | int, Meta(description="Bytes a second, or text such as 2MB/s, 500kB/s, 16Mbit/s.")
]
Percent = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Written = dict[str, Any]
Step = Written | str
Precision = Literal["fp32", "fp16", "int8"]


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class OutputsSpec(_Spec, frozen=True, kw_only=True):
    """What training leaves: the ONNX file, and a JSON object of measured numbers."""

    model: Path
    metrics: Path | None = None


class TrainSpec(_Spec, frozen=True, kw_only=True):
    """How the model is trained: any program that leaves an ONNX file."""

    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    outputs: OutputsSpec
    inputs: dict[Name, Path] = {}
    provider: str | None = None


class VariantSpec(_Spec, frozen=True, kw_only=True):
    """The model at one precision."""

    precision: Precision
    calibration: Path | None = None
    max_accuracy_drop: Share | None = None
    quantization: Literal["static", "dynamic"] | None = None


class ModelSpec(_Spec, frozen=True, kw_only=True):
    """The model, what it must reach, and its variants.

    Attributes:
        approval: Whether a version that passed its gates may be deployed at once, or needs an
            operator's word first.
    """

    path: Path
    golden: Path | None = None
    evaluation: Path | None = None
    gates: dict[str, str] = {}
    approval: Literal["automatic", "manual"] = "automatic"
    variants: Annotated[tuple[VariantSpec, ...], Meta(min_length=1)] = (
        VariantSpec(precision="fp32"),
    )


class PipelineSpec(_Spec, frozen=True, kw_only=True):
    """What runs on the device around the model; `parts` and `steps` read what stands in it."""

    source: Written | None = None
    queue: Written | None = None
    preprocess: tuple[Step, ...] = ()
    remote: Written | None = None
    fallback: Written | None = None
    postprocess: tuple[Step, ...] = ()
    sink: Written | tuple[Written, ...] | None = None


class DeviceSpec(_Spec, frozen=True, kw_only=True):
    """How devices run a release; part of what is signed."""

    soak: Duration = 10.0
    precision: Precision | None = None
    telemetry_sample: Share = 1.0
    record: Literal["none", "output", "input+output"] = "output"
    redact: tuple[str, ...] = ()


class GateSpec(_Spec, frozen=True, kw_only=True):
    """What lies between a target and those that it comes after.

    Attributes:
        soak: How long they have to stay healthy once they are.
        approve: Whether an operator has to say that it may begin.
    """

    soak: Duration = 0.0
    approve: bool = False


class WindowSpec(_Spec, frozen=True, kw_only=True, rename={"begin": "from", "end": "to"}):
    """When devices may be given a release, by their local time.

    Attributes:
        timezone_label: The device's label that names its time zone; ``timezone`` for others.
    """

    begin: str
    end: str
    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Meta(min_length=1)
    ] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    timezone: str = "UTC"
    timezone_label: str = ""


class DownloadWindowSpec(_Spec, frozen=True, kw_only=True, rename={"begin": "from", "end": "to"}):
    """When devices may fetch a package's files; by their own clocks where no zone is named."""

    begin: str
    end: str
    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Meta(min_length=1)
    ] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    timezone: str = ""


class NetworkSpec(_Spec, frozen=True, kw_only=True):
    """What the link of a site bears while a device fetches a package's files.

    Attributes:
        bandwidth: Of one device at most.
        download_window: When; always where it is left out.
    """

    bandwidth: Rate | None = None
    download_window: DownloadWindowSpec | None = None


class TargetSpec(_Spec, frozen=True, kw_only=True):
    """A named group of devices on one provider.

    Attributes:
        after: Targets that have to be healthy with a release before this one gets it.
        network: How its devices may fetch; part of what is signed for them.
    """

    provider: Name
    selector: dict[str, str | dict[str, str] | list[str]] = {}
    hardware: str | None = None
    after: tuple[Name, ...] = ()
    gate: GateSpec = GateSpec()
    window: WindowSpec | None = None
    network: NetworkSpec = NetworkSpec()


class ThresholdSpec(_Spec, frozen=True, kw_only=True):
    """When a rollout stops: more than ``percent`` of at least ``min_devices`` failed."""

    percent: Percent
    min_devices: Annotated[int, Meta(ge=1)] = 1


class GatesSpec(_Spec, frozen=True, kw_only=True):
    """What the devices of a wave must keep to while it soaks, each written as ``<= limit``.

    Attributes:
        on_missing: Whether a wave passes a gate that its devices told too little for.
        min_samples: How many answers error rate and latencies are judged by, at least.
    """

    error_rate: str | None = None
    latency_p50: str | None = None
    latency_p95: str | None = None
    latency_p99: str | None = None
    restarts: str | None = None
    drift: str | None = None
    on_missing: Literal["pass", "fail"] = "pass"
    min_samples: Annotated[int, Meta(ge=1)] = 100


class RolloutSpec(_Spec, frozen=True, kw_only=True):
    """How a release reaches a target's devices."""

    waves: Annotated[tuple[int | str, ...], Meta(min_length=1)] = ("100%",)
    soak: Duration = 0.0
    concurrency: Annotated[int, Meta(ge=1)] | None = None
    failure_threshold: ThresholdSpec | None = None
    on_failure: Literal["rollback", "pause"] = "rollback"
    timeout: Duration = 1800.0
    unreachable_grace: Duration = 120.0
    outage: Duration = 300.0
    pause_after: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    gates: GatesSpec | None = None


class SigningSpec(_Spec, frozen=True, kw_only=True):
    """Where the publisher's private key lies; made on first use, never committed."""

    key: Path = ".edgectl/keys/publisher.pem"


class ProjectSpec(_Spec, frozen=True, kw_only=True, rename={"api_version": "apiVersion"}):
    """An edgectl project."""

    api_version: Literal["edgectl/v1"]
    name: Name
    version: Version
    model: ModelSpec
    train: TrainSpec | None = None
    pipeline: PipelineSpec = PipelineSpec()
    device: DeviceSpec = DeviceSpec()
    targets: dict[Name, TargetSpec] = {}
    rollout: RolloutSpec = RolloutSpec()
    signing: SigningSpec = SigningSpec()
    providers: dict[Name, dict[str, Any]] = {}
