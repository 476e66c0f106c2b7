"""What of a shell's variables a rehearsal has: none that leads to a real account.

Emulators set what leads to them. Anything else that a cloud's tools read is left out, so that no
real credential is used beside an emulator's, or sent to one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")
FAMILIES = (
    "AWS_",
    "AZURE_",
    "ARM_",
    "IOTHUB_",
    "MSI_",
    "IDENTITY_",
    "GOOGLE_",
    "GCLOUD_",
    "GCE_",
    "CLOUDSDK_",
    "GKE_",
    "EDGECTL_HUB_",
    "EDGECTL_AWS_",
    "EDGECTL_AZURE_",
    "EDGECTL_GKE_",
)
SINGLE = frozenset(
    {"KUBECONFIG", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"}
    | {f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL")}
    | {f"{kind}_proxy" for kind in ("http", "https", "all")}
)
"""Trust and proxies of the real network do not fit an emulator on this machine either."""


def foreign(environment: Mapping[str, str], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the variables that a rehearsal leaves out, sorted.

    Args:
        environment: The shell's variables.
        settings: ``providers`` of the project. What they name themselves is theirs; emulators set
            what of it is an address, and the fence holds the rest on this machine.
    """
    named = frozenset(_VARIABLE.findall(" ".join(_texts(settings))))
    return tuple(
        sorted(
            name
            for name in environment
            if (name.startswith(FAMILIES) or name in SINGLE) and name not in named
        )
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value
