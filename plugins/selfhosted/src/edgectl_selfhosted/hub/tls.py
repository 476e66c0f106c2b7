"""The name in a device's client certificate.

The certificate chain is verified by the TLS library against the given authority; here only the
subject's common name is read. A certificate is asked for but not demanded, so that operators can
use the same port with a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

Names = Sequence[Sequence[tuple[str, str]]]


def common_name(certificate: dict[str, Any] | None) -> str:
    """Return the one common name of a verified certificate, or ""."""
    if not certificate:
        return ""
    subject = cast("Names", certificate.get("subject", ()))
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""
