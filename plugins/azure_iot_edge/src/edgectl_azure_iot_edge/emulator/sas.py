"""Shared access signatures, as IoT Hub and Event Hubs sign and check them. Pure.

``SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={policy}]``; the signature is
HMAC-SHA256 with the base64-decoded key over the resource as it stands in the token (URL-encoded), a
newline and the expiry. A token is good for its resource and everything below.

Source: learn.microsoft.com/azure/iot-hub, "Control access with shared access signatures".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from edgectl.api import Record

SCHEME = "SharedAccessSignature "


class SasError(ValueError):
    """A token is not good."""


class SasToken(Record, frozen=True, kw_only=True):
    """A token that was read, and not yet checked.

    Attributes:
        resource: Decoded.
        raw_resource: As it was signed.
        signature: Base64.
        expiry: Seconds since 1970, as text.
        policy: The policy whose key signed it, "" for a device's own key.
    """

    resource: str
    raw_resource: str
    signature: str
    expiry: str
    policy: str = ""

    def is_expired(self, now: float) -> bool:
        """Say whether its time is over.

        Raises:
            SasError: The expiry is no number.
        """
        try:
            return float(self.expiry) <= now
        except ValueError as exc:
            raise SasError(f"'{self.expiry}' is no expiry") from exc

    def is_signed_by(self, key: str | None) -> bool:
        """Say whether a key (base64) made the signature."""
        if not key:
            return False
        try:
            raw = base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(sign(raw, self.raw_resource, self.expiry), self.signature)

    def covers(self, resource: str) -> bool:
        """Say whether a resource is the token's own or below it; host names have no case."""
        mine, theirs = self.resource.strip("/").lower(), resource.strip("/").lower()
        return theirs == mine or theirs.startswith(f"{mine}/")


def parse(text: str) -> SasToken:
    """Read a token, with or without its scheme.

    Raises:
        SasError: A part is missing.
    """
    fields: dict[str, str] = {}
    for part in text.removeprefix(SCHEME).split("&"):
        name, _, value = part.partition("=")
        fields[name.strip()] = value.strip()
    missing = [name for name in ("sr", "sig", "se") if not fields.get(name)]
    if missing:
        raise SasError(f"the signature has no {', '.join(missing)}")
    return SasToken(
        resource=unquote_plus(fields["sr"]),
        raw_resource=fields["sr"],
        signature=unquote(fields["sig"]),
        expiry=fields["se"],
        policy=unquote(fields.get("skn", "")),
    )


def sign(key: bytes, raw_resource: str, expiry: str) -> str:
    """Return the signature, base64."""
    digest = hmac.new(key, f"{raw_resource}\n{expiry}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def make(resource: str, key: str, expiry: int, policy: str = "") -> str:
    """Return a token for a resource; for devices of the emulator and for tests."""
    raw = quote_plus(resource)
    signature = quote(sign(base64.b64decode(key), raw, str(expiry)), safe="")
    token = f"{SCHEME}sr={raw}&sig={signature}&se={expiry}"
    return f"{token}&skn={quote(policy, safe='')}" if policy else token
