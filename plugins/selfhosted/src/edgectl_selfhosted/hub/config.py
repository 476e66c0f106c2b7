"""What an operator decides when the hub starts: addresses, files and quotas."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgectl_selfhosted.hub.patience import Patience

TENANT = "DEFAULT"
OPERATOR = "admin"


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """How much one client may store; the defaults are those of Eclipse hawkBit where it has one."""

    artifact_bytes: int = 1 << 30
    artifacts_per_module: int = 50
    modules_per_set: int = 100
    attributes_per_target: int = 100
    metadata_per_entity: int = 100
    groups_per_rollout: int = 500
    targets_per_group: int = 20_000
    targets_per_request: int = 5_000
    status_per_action: int = 1_000
    messages_per_status: int = 50
    message_chars: int = 512
    body_bytes: int = 2 << 20


class TelemetryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a request may carry, and how long records stay."""

    request_bytes: int = 4 << 20
    inflated_bytes: int = 16 << 20
    keep_bytes: int = 256 << 20
    keep_s: float = 30 * 86_400.0


class HubConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's configuration.

    Attributes:
        data: The folder that the hub owns; made if it is not there.
        port: 0 lets the system choose; the choice is in ``hub.json``.
        gateway_token: Turn the gateway token on or off; None leaves what was set before.
        poll_s: What devices are told to wait between polls; None leaves what was set before.
        public_url: How devices reach the hub when a proxy stands in front of it, or "".
        rollout_interval_s: How often rollouts are looked at when nothing wakes the scheduler.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8280
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    gateway_token: bool | None = None
    poll_s: float | None = None
    public_url: str = ""
    rollout_interval_s: float = 2.0
    quotas: Quotas = Quotas()
    telemetry: TelemetryLimits = TelemetryLimits()
    patience: Patience = Patience()

    @property
    def scheme(self) -> str:
        """``https`` where a certificate is given."""
        return "https" if self.tls_cert else "http"
