"""IoT Hub's limits and request rates, each with its source, and what a plan says of them.

Sources: "IoT Hub quotas and throttling" (iot-hub-devguide-quotas-throttling), "Understand and use
device twins" (sizes, keys, depth), "IoT Hub query language" (pages of up to 1,000), the edge
deployments' schemas, and azure-iot-sdk-csharp#1680 (a query has at most 8,192 characters).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edgectl.api import LimitError
from edgectl_azure_iot_edge.config import Tier

MAX_ID = 128
"""Characters of a configuration's or a device's id."""
MAX_QUERY = 8192
MAX_PAGE = 1000
MAX_DEPLOYMENTS = 100
MAX_FREE_DEPLOYMENTS = 10
MAX_MODULES = 50
MAX_DESIRED_BYTES = 32 * 1024
MAX_REPORTED_BYTES = 32 * 1024
MAX_TAGS_BYTES = 8 * 1024
MAX_STRING = 4096
MAX_DEPTH = 10
MAX_KEY_BYTES = 1024
REPORTED_PER_MODULE = 1100
"""About what edgeAgent reports of one module (iotedge#7035: 29 modules fill 32 KB)."""
MAX_INTEGER = 4503599627370495

MINUTE_S = 60.0
CONFIGURATIONS = "configurations"
QUERIES = "queries"
REGISTRY = "registry"
TWIN_READS = "twin-reads"
TWIN_UPDATES = "twin-updates"
METHODS = "methods"
SHARE = 0.9
"""What we take of a minute's rate at most, so that there is room for others."""
SHARE_A_SECOND = 0.8
"""The same of a second's: what is sent evenly arrives in bunches."""


class Rate(NamedTuple):
    """So many calls in so many seconds."""

    calls: int
    seconds: float

    @property
    def ours(self) -> int:
        """What we take of it at most."""
        return max(int(self.calls * (SHARE if self.seconds > 1 else SHARE_A_SECOND)), 1)


def kind_of(method: str, path: str) -> str:
    """Return which rate a call of the service API counts against."""
    first, _, rest = path.strip("/").partition("/")
    if first == "configurations" or rest.endswith("/applyConfigurationContent"):
        return CONFIGURATIONS
    if path.rstrip("/") == "/devices/query":
        return QUERIES
    if first == "twins":
        if rest.endswith("/methods"):
            return METHODS
        return TWIN_READS if method == "GET" else TWIN_UPDATES
    return REGISTRY


def documented_rates(tier: Tier, units: int) -> dict[str, Rate]:
    """Return the documented rate of each kind of call."""
    large = tier.endswith("3")
    small = not large
    return {
        CONFIGURATIONS: Rate(20 * units, MINUTE_S),
        QUERIES: Rate((20 if small else 1000) * units, MINUTE_S),
        REGISTRY: Rate((100 if small else 5000) * units, MINUTE_S),
        TWIN_READS: Rate(max(100, 10 * units) if small else 500 * units, 1.0),
        TWIN_UPDATES: Rate(max(50, 5 * units) if small else 250 * units, 1.0),
        METHODS: Rate({"1": 40, "2": 120, "3": 6144}[tier[-1]] * units, 1.0),
    }


def max_deployments(tier: Tier) -> int:
    """Return how many edge deployments a hub holds, layered ones included."""
    return MAX_FREE_DEPLOYMENTS if tier == "F1" else MAX_DEPLOYMENTS


def twin_bytes(value: object) -> int:
    """Return the size of a twin's section as the hub counts it.

    Keys and texts by their UTF-8 bytes without control characters, numbers 8, booleans 4; what
    begins with ``$`` (``$version``, ``$metadata``) is not counted.
    """
    if isinstance(value, Mapping):
        return sum(
            _text_bytes(str(key)) + twin_bytes(item)
            for key, item in value.items()
            if not str(key).startswith(("$version", "$metadata"))
        )
    if isinstance(value, list | tuple):
        return sum(twin_bytes(item) for item in value)
    if isinstance(value, bool):
        return 4
    if isinstance(value, int | float):
        return 8
    return _text_bytes(value) if isinstance(value, str) else 0


def _text_bytes(text: str) -> int:
    return len("".join(c for c in text if not (ord(c) < 32 or 127 <= ord(c) < 160)).encode())


def twin_depth(value: object) -> int:
    """Return how deep a twin's section is; a plain value has depth 0."""
    if isinstance(value, Mapping) and value:
        return 1 + max(twin_depth(item) for item in value.values())
    return 1 if isinstance(value, Mapping) else 0


def check_desired(what: str, desired: Mapping[str, object]) -> None:
    """Check that a desired section is one that the hub takes.

    Raises:
        LimitError: It is too large or too deep, or a text in it is too long.
    """
    size = twin_bytes(desired)
    if size > MAX_DESIRED_BYTES:
        raise LimitError(
            f"the desired properties of {what} would have {size} bytes, IoT Hub takes at most "
            f"{MAX_DESIRED_BYTES}",
            hint="shorten `create_options` and `env` of providers.azure, or take modules of other "
            "deployments from these devices",
        )
    if twin_depth(desired) > MAX_DEPTH:
        raise LimitError(f"the desired properties of {what} are deeper than {MAX_DEPTH}")
    longest = max((len(text.encode()) for text in _texts(desired)), default=0)
    if longest > MAX_STRING:
        raise LimitError(
            f"a text in the desired properties of {what} has {longest} bytes, IoT Hub takes at "
            f"most {MAX_STRING}"
        )


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def check_reported(device: str, reported_bytes: int, more_modules: int) -> None:
    """Check that edgeAgent can still report when there are more modules.

    Raises:
        LimitError: Its report would be too large, and the device's state could not be read.
    """
    size = reported_bytes + more_modules * REPORTED_PER_MODULE
    if size > MAX_REPORTED_BYTES:
        raise LimitError(
            f"what edgeAgent of '{device}' reports would have about {size} bytes with "
            f"{more_modules} more modules, IoT Hub takes at most {MAX_REPORTED_BYTES}",
            hint="take modules from the device: about 29 fill its report",
        )


def check_module_count(device: str, modules: int) -> None:
    """Check how many modules a device would have.

    Raises:
        LimitError: They are too many.
    """
    if modules > MAX_MODULES:
        raise LimitError(
            f"'{device}' would have {modules} modules, a deployment has at most {MAX_MODULES}"
        )


def check_id(configuration: str) -> None:
    """Check the length of a configuration's id.

    Raises:
        LimitError: It is too long.
    """
    if len(configuration) > MAX_ID:
        raise LimitError(
            f"the deployment '{configuration}' has a name of {len(configuration)} characters, "
            f"IoT Hub takes at most {MAX_ID}",
            hint="shorten the name of the target or of the application",
        )


def chunks(ids: Iterable[str], room: int) -> Iterable[tuple[str, ...]]:
    """Cut ids into groups whose list in a query takes at most ``room`` characters."""
    group: list[str] = []
    used = 0
    for one in ids:
        needed = len(one) + 2 * one.count("'") + 4
        if group and used + needed > room:
            yield tuple(group)
            group, used = [], 0
        group.append(one)
        used += needed
    if group:
        yield tuple(group)
