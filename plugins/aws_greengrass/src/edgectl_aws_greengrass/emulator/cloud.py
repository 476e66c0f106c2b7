"""The emulated account: its parts put together, and what its devices may ask of it."""

from __future__ import annotations

import os
from pathlib import Path

from edgectl_aws_greengrass.emulator.callers import Callers
from edgectl_aws_greengrass.emulator.calls import Calls
from edgectl_aws_greengrass.emulator.control import Control
from edgectl_aws_greengrass.emulator.faults import Faults
from edgectl_aws_greengrass.emulator.front import Front, Services
from edgectl_aws_greengrass.emulator.throttle import Throttle

ACCOUNT = "123456789012"
"""The account that moto gives to everybody."""

ADMINISTRATOR = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}


class EmulatedCloud:
    """One account in one Region.

    Args:
        folder: Takes keys, certificates and what training jobs leave.
        region: The Region.
        throttle: Request rates; None takes the documented ones.
    """

    def __init__(
        self, folder: Path, *, region: str = "us-east-1", throttle: Throttle | None = None
    ) -> None:
        os.environ.setdefault("MOTO_DISABLE_GLOBAL_CORS", "true")
        self.folder = folder
        self.region = region
        self.account = ACCOUNT
        self.callers = Callers(ACCOUNT)
        self.calls = Calls()
        self.faults = Faults()
        self.throttle = throttle or Throttle()
        self.control = Control(
            callers=self.callers, calls=self.calls, faults=self.faults, throttle=self.throttle
        )
        self.administrator = self.callers.new_user("administrator", ADMINISTRATOR)
        self.front = Front(
            region=region,
            account=ACCOUNT,
            callers=self.callers,
            services=Services(handlers={}, before={}, after={}),
            calls=self.calls,
            faults=self.faults,
            throttle=self.throttle,
            control=self.control,
        )

    def arn(self, service: str, resource: str) -> str:
        """Return ``arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE``."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def settings(self, url: str) -> dict[str, str]:
        """Return the variables that point boto3 here."""
        key, secret = self.administrator
        return {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
