"""What a check of a version found, as it is printed and read."""

from __future__ import annotations

import msgspec


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found; printed as JSON by ``edge-runtime check``."""

    ok: bool
    precision: str = ""
    provider: str = ""
    max_abs_error: float | None = None
    max_rel_error: float | None = None
    label_agreement: float | None = None
    samples: int = 0
    seconds: float = 0.0
    latency_ms: float | None = None
    reason: str = ""
    detail: str = ""
