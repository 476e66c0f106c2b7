"""Where Google's APIs are: Google's own addresses, or an emulator's; pure."""

from __future__ import annotations

import os
from collections.abc import Mapping

from edgectl_gke_edge.config import GkeConfig

GRPC_VARIABLE = "EDGECTL_GKE_ENDPOINT"
"""``host:port`` of an emulator that answers for Google's gRPC APIs, without TLS."""
HTTP_VARIABLE = "EDGECTL_GKE_HTTP_ENDPOINT"
"""``host:port`` of the same for the connect gateway's control API, which is HTTP."""


def address_of(config: GkeConfig, api: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return an emulator's address for an API, or "" for Google's own.

    Args:
        config: The settings, which come first.
        api: ``container``, ``edgecontainer``, ``gkehub`` or ``connectgateway``.
        environ: Where the address of an emulator may stand.
    """
    configured: str = getattr(config.endpoints, api)
    variable = HTTP_VARIABLE if api == "connectgateway" else GRPC_VARIABLE
    return configured or environ.get(variable, "")
