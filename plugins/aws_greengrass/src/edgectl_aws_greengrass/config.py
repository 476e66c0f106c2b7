"""What ``providers.aws`` of the project file may hold.

Credentials never stand here: they come from the AWS SDK's own chain (environment, profile, role).
"""

from __future__ import annotations

from edgectl.api import Record


class AwsConfig(Record, frozen=True, kw_only=True):
    """The part of an AWS account that the project uses.

    Attributes:
        bucket: The S3 bucket of component artifacts, in the devices' Region. Devices read it with
            their token exchange role.
        region: The Region, for example ``us-east-1``; None takes the SDK's own setting.
        role: ARN of the role that SageMaker training jobs run with.
        repository: The ECR repository of images, or None for S3 artifacts only.
    """

    bucket: str
    region: str | None = None
    role: str | None = None
    repository: str | None = None
