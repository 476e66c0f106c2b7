"""What ``providers.azure`` of the project file may hold.

Credentials never stand here: the hub takes a connection string from ``IOTHUB_CONNECTION_STRING``,
and everything takes azure-identity's own chain (environment, managed identity, the Azure CLI's
login). Everything but the first four keys has a default that fits a hub with one fleet.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from edgectl.api import Record

DEFAULT_PRIORITY = 100
Tier = Literal["F1", "B1", "B2", "B3", "S1", "S2", "S3"]
_REPOSITORY = re.compile(r"[a-z0-9]+([._/-][a-z0-9]+)*")


class TrainingConfig(Record, frozen=True, kw_only=True):
    """How Azure ML trains.

    Attributes:
        compute: The compute target, for example ``cpu-cluster``; "" takes serverless compute.
        image: The image that the job runs in; it needs Python and what ``train.py`` imports.
        environment: Instead of ``image``, a registered environment, ``azureml:NAME:VERSION``.
        instance_type: Of serverless compute, for example ``Standard_D4s_v3``.
        instance_count: How many machines.
        timeout_s: The job is stopped after this.
        variables: Variables that the training gets beside edgectl's own.
    """

    compute: str = ""
    image: str = ""
    environment: str = ""
    instance_type: str = ""
    instance_count: int = 1
    timeout_s: int = 24 * 3600
    variables: dict[str, str] = {}


class RuntimeConfig(Record, frozen=True, kw_only=True):
    """The module that runs the model on devices.

    Attributes:
        image: Its image; None is ``<registry>/<prefix>/edge-runtime`` with the tag of the installed
            version. A tag is resolved to a digest when a release is packaged.
        bake: Whether each release gets an image of its own with the package in it. Then a release
            without a new runtime restarts the container too.
        host_port: Port of the device that answers inference, on loopback; None publishes none.
        grpc_port: The same for gRPC.
        config_dir: Folder of the device with ``device.toml``, ``publisher.pem`` and
            ``registry.json``; mounted read-only.
        state_dir: Folder of the device for the module's state.
        user: ``user:group`` that the module runs as in its container; None is the image's own.
        memory_mb: Most memory of the container; None for no limit.
        create_options: More of Docker's ContainerCreate, merged over ours.
        env: Variables of the module.
        startup_order: When edgeAgent starts the module: the lower, the earlier.
    """

    image: str | None = None
    bake: bool = False
    host_port: Annotated[int, Meta(ge=1, le=65535)] | None = 8080
    grpc_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    config_dir: str = "/etc/edgectl"
    state_dir: str = "/var/lib/edgectl"
    user: str | None = None
    memory_mb: Annotated[int, Meta(ge=64)] | None = None
    create_options: dict[str, object] = {}
    env: dict[str, str] = {}
    startup_order: Annotated[int, Meta(ge=0, le=4294967295)] = 100


class FunctionConfig(Record, frozen=True, kw_only=True):
    """A module of an Azure Function (or of anything else) that answers are routed to.

    Attributes:
        image: The module's image.
        input: The input of the module that gets answers.
        output: The output that its words leave by, to the cloud; "" for none.
        env: Variables of the module.
        create_options: Docker's ContainerCreate for it.
    """

    image: str
    input: str = "input1"
    output: str = "output1"
    env: dict[str, str] = {}
    create_options: dict[str, object] = {}


class RouteConfig(Record, frozen=True, kw_only=True):
    """How edgeHub takes our telemetry to the cloud.

    Attributes:
        priority: 0 is the highest, 9 the lowest.
        ttl_s: How long edgeHub keeps what it cannot send. Its disk store has no bound, so this is
            short: the module's own queue, which has one, keeps the rest.
    """

    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    ttl_s: Annotated[int, Meta(ge=1, le=4294967295)] = 7200


class TelemetryConfig(Record, frozen=True, kw_only=True):
    """Where telemetry is read back.

    Attributes:
        endpoint: Namespace of the hub's Event Hubs-compatible endpoint, for example
            ``ihsuprodx.servicebus.windows.net``; None takes it from the connection string in
            ``EDGECTL_AZURE_EVENTHUB``.
        event_hub: The Event Hubs-compatible name; None is the hub's.
        consumer_group: Of edgectl alone: two readers of one group take each other's place.
    """

    endpoint: str | None = None
    event_hub: str | None = None
    consumer_group: str = "$Default"


class AzureConfig(Record, frozen=True, kw_only=True):
    """The part of an Azure subscription that the project uses.

    Attributes:
        subscription_id: The subscription's id.
        resource_group: The resource group of hub and workspace.
        iot_hub: The IoT Hub's name; not of the Basic tier, which has no deployments.
        registry: The container registry of images and packages, for example ``name.azurecr.io``.
        workspace: The Azure ML workspace, or None when models are trained elsewhere.
        host: The hub's host name, where it is not ``<iot_hub>.azure-devices.net``.
        tier: The hub's tier, which decides its request rates.
        units: Its units.
        prefix: What the repositories in the registry begin with.
        priority: Priority of release 0; release N has N more. Base deployments have to be below.
        training: How Azure ML trains.
        runtime: The module.
        route: How edgeHub takes telemetry to the cloud.
        functions: Modules that answers are routed to, by the name that a pipeline's sink uses.
        telemetry: Where telemetry is read back.
        failing_grace_s: How long a device may report 500 before it counts as failed: edgeAgent
            waits a minute for an image, reports 500, and goes on pulling.
        unreachable_after_s: A device that was given a release, has not begun with it and has not
            been heard of for this long is called unreachable.
    """

    subscription_id: str
    resource_group: str
    iot_hub: str
    registry: str | None = None
    workspace: str | None = None
    host: str | None = None
    tier: Tier = "S1"
    units: Annotated[int, Meta(ge=1, le=200)] = 1
    prefix: str = "edgectl"
    priority: Annotated[int, Meta(ge=1, le=1_000_000_000)] = DEFAULT_PRIORITY
    training: TrainingConfig = TrainingConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    route: RouteConfig = RouteConfig()
    functions: dict[str, FunctionConfig] = {}
    telemetry: TelemetryConfig = TelemetryConfig()
    failing_grace_s: float = 600.0
    unreachable_after_s: float = 900.0

    def __post_init__(self) -> None:
        """Check what the types cannot say; msgspec reports it with the key's path."""
        if not _REPOSITORY.fullmatch(self.prefix):
            raise ValueError(
                f"`prefix` is '{self.prefix}', expected a repository such as teams/edgectl"
            )
        if self.unreachable_after_s <= 0 or self.failing_grace_s < 0:
            raise ValueError("`unreachable_after_s` has to be above 0, `failing_grace_s` not below")

    @property
    def hub_host(self) -> str:
        """The hub's host name."""
        return self.host or f"{self.iot_hub}.azure-devices.net"
