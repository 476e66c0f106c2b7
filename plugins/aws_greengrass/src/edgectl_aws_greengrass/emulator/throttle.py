"""The documented request rates, kept with a token bucket each.

Greengrass V2: AWS General Reference, "AWS IoT Greengrass V2 endpoints and quotas"; IoT: the same,
"AWS IoT Core thing resource limits" and "AWS IoT Device Management job limits". Rates that are not
documented are not limited. Each bucket holds one second's worth, and at least one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edgectl.emulation import TokenBuckets
from edgectl_aws_greengrass.emulator.wire import ServiceError

GREENGRASS_PER_SECOND = 30.0
"""All control plane operations together."""

RATES: Mapping[str, float] = {
    "greengrassv2.CreateComponentVersion": 1.0,
    "iot.AddThingToThingGroup": 100.0,
    "iot.AttachPolicy": 15.0,
    "iot.AttachThingPrincipal": 100.0,
    "iot.CreateDynamicThingGroup": 5.0,
    "iot.CreateJob": 10.0,
    "iot.CreateKeysAndCertificate": 10.0,
    "iot.CreatePolicy": 10.0,
    "iot.CreateRoleAlias": 10.0,
    "iot.CreateThing": 100.0,
    "iot.CreateThingGroup": 25.0,
    "iot.CreateTopicRule": 5.0,
    "iot.DeleteThing": 100.0,
    "iot.DeleteThingGroup": 15.0,
    "iot.DescribeEndpoint": 10.0,
    "iot.DescribeJob": 10.0,
    "iot.DescribeJobExecution": 10.0,
    "iot.DescribeRoleAlias": 10.0,
    "iot.DescribeThing": 350.0,
    "iot.DescribeThingGroup": 100.0,
    "iot.ListJobExecutionsForJob": 10.0,
    "iot.ListJobExecutionsForThing": 10.0,
    "iot.ListJobs": 10.0,
    "iot.ListThingGroups": 10.0,
    "iot.ListThingGroupsForThing": 10.0,
    "iot.ListThings": 10.0,
    "iot.ListThingsInThingGroup": 25.0,
    "iot.RemoveThingFromThingGroup": 100.0,
    "iot.SearchIndex": 15.0,
    "iot.UpdateThing": 100.0,
    "iot.CancelJob": 10.0,
    "iot.DeleteJob": 10.0,
}
"""``service.Operation`` → calls a second, in a Region of the first class."""


class Throttle:
    """The buckets.

    Args:
        rates: Calls a second by ``service.Operation`` or ``service``; a changed table makes a
            test quick.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        rates: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        wanted = {"greengrassv2": GREENGRASS_PER_SECOND, **RATES} if rates is None else rates
        self._buckets = TokenBuckets(wanted, clock)

    @property
    def rates(self) -> dict[str, float]:
        """Calls a second by name."""
        return self._buckets.rates

    @rates.setter
    def rates(self, rates: dict[str, float]) -> None:
        self._buckets.rates = rates

    def take(self, service: str, operation: str) -> None:
        """Take one call out of its buckets.

        Raises:
            ServiceError: ``ThrottlingException``; the call changes nothing.
        """
        if self._buckets.take((service, f"{service}.{operation}")) > 0.0:
            raise ServiceError("ThrottlingException", "Rate exceeded", _STATUS.get(service))


_STATUS = {"greengrassv2": 429}
