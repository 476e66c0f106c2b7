"""What ``providers.aws`` of the project file may hold.

Credentials never stand here: they come from the AWS SDK's own chain (environment, profile, role).
Everything but ``bucket`` has a default that fits an account with one fleet.
"""

from __future__ import annotations

import re
from typing import Literal

from edgectl.api import Record

ROLE_ALIAS = "GreengrassCoreTokenExchangeRoleAlias"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


class TrainingConfig(Record, frozen=True, kw_only=True):
    """How SageMaker trains.

    Attributes:
        image: The training image's URI; it needs Python and what ``train.py`` imports.
        instance_type: For example ``ml.m5.large`` or ``ml.g5.xlarge``.
        spot: Whether to take spot instances, which may wait and be interrupted.
        max_run_s: The job is stopped after this.
        max_wait_s: With ``spot``: how long waiting and running may take together; None is
            ``max_run_s`` and an hour.
        volume_gb: The instance's disk.
        environment: Variables that the training gets beside edgectl's own.
    """

    image: str = ""
    instance_type: str = "ml.m5.large"
    spot: bool = False
    max_run_s: int = 24 * 3600
    max_wait_s: int | None = None
    volume_gb: int = 30
    environment: dict[str, str] = {}


class RuntimeConfig(Record, frozen=True, kw_only=True):
    """How the runtime component is installed on devices.

    Attributes:
        wheels: A folder of wheels to carry along, relative to the project, so that devices need
            no package index; None lets each device fetch what the runtime needs.
        python: The interpreter on the device. One that has the same runtime already (an image
            with onnxruntime for its accelerator) is used as it is.
    """

    wheels: str | None = None
    python: str = "python3"


class JobConfig(Record, frozen=True, kw_only=True):
    """How Greengrass hands a deployment to a thing group.

    Attributes:
        maximum_per_minute: At most so many devices are told a minute (1 to 1000); None is AWS's
            own pace. It holds for the devices of the group when the deployment is made.
        in_progress_timeout_min: A device that has not finished after so many minutes counts as
            failed (1 to 10080); None has the rollout's own time decide.
        update: NOTIFY_COMPONENTS lets components defer the update, SKIP_NOTIFY_COMPONENTS not.
        update_timeout_s: How long they may defer.
    """

    maximum_per_minute: int | None = None
    in_progress_timeout_min: int | None = None
    update: Literal["NOTIFY_COMPONENTS", "SKIP_NOTIFY_COMPONENTS"] = "NOTIFY_COMPONENTS"
    update_timeout_s: int = 60

    def __post_init__(self) -> None:
        """Check what the types cannot say (API: JobExecutionsRolloutConfig, TimeoutConfig)."""
        rate = self.maximum_per_minute
        if rate is not None and not 1 <= rate <= 1000:
            raise ValueError(f"`maximum_per_minute` is {rate}, allowed: 1 to 1000")
        minutes = self.in_progress_timeout_min
        if minutes is not None and not 1 <= minutes <= 10_080:
            raise ValueError(f"`in_progress_timeout_min` is {minutes}, allowed: 1 to 10080")
        if self.update_timeout_s < 1:
            raise ValueError("`update_timeout_s` has to be above 0")


class AwsConfig(Record, frozen=True, kw_only=True):
    """The part of an AWS account that the project uses.

    Attributes:
        bucket: The S3 bucket of component artifacts, in the devices' Region. Devices read it with
            their token exchange role.
        region: The Region, for example ``us-east-1``; None takes the SDK's own setting.
        prefix: What every key in the bucket begins with.
        publisher: What the names of our components begin with.
        role: ARN of the role that SageMaker training jobs run with.
        training: How SageMaker trains.
        model_package_group: Where models are registered; None is the application's name.
        repository: The ECR repository of images, or None for S3 artifacts only.
        token_exchange_role_alias: The role alias that devices get their credentials through.
        token_exchange_role: ARN of the role to make that alias for where it is missing.
        telemetry_role: ARN of the role that AWS IoT writes telemetry to the bucket with; None keeps
            no telemetry.
        runtime: How the runtime component is installed.
        job: How deployments are handed out.
        posix_user: ``user:group`` that our components run as; None is what the nucleus has.
        endpoint_url: Address of an emulator; None is AWS, or AWS_ENDPOINT_URL.
        device_ca: PEM file of the authorities that devices trust, relative to the project; None
            is Amazon's own, or EDGECTL_AWS_DEVICE_CA.
        device_state_dir: Folder on the device for the runtime's state.
        nucleus_root: Where the nucleus keeps its files on the device.
        fleet_indexing: Whether AWS IoT fleet indexing is on; selectors may then have a ``query``.
        unreachable_after_s: A device that was given a release, has not begun with it and has not
            been heard of for this long is called unreachable.
    """

    bucket: str
    region: str | None = None
    prefix: str = "edgectl"
    publisher: str = "edgectl"
    role: str | None = None
    training: TrainingConfig = TrainingConfig()
    model_package_group: str | None = None
    repository: str | None = None
    token_exchange_role_alias: str = ROLE_ALIAS
    token_exchange_role: str | None = None
    telemetry_role: str | None = None
    runtime: RuntimeConfig = RuntimeConfig()
    job: JobConfig = JobConfig()
    posix_user: str | None = None
    endpoint_url: str | None = None
    device_ca: str | None = None
    device_state_dir: str = "/var/lib/edgectl"
    nucleus_root: str = "/greengrass/v2"
    fleet_indexing: bool = False
    unreachable_after_s: float = 900.0

    def __post_init__(self) -> None:
        """Check what the types cannot say; msgspec reports it with the key's path."""
        if not _BUCKET.fullmatch(self.bucket):
            raise ValueError(f"`bucket` is '{self.bucket}', which is no name of an S3 bucket")
        if not _NAME.fullmatch(self.publisher) or self.publisher.startswith("aws.greengrass"):
            raise ValueError(
                f"`publisher` is '{self.publisher}', expected letters, digits, dots, underscores "
                "and dashes, and nothing that begins with aws.greengrass"
            )
        if not _PREFIX.fullmatch(self.prefix) or "//" in self.prefix or self.prefix.endswith("/"):
            raise ValueError(f"`prefix` is '{self.prefix}', expected a key such as teams/edgectl")
        if self.unreachable_after_s <= 0:
            raise ValueError("`unreachable_after_s` has to be above 0")
