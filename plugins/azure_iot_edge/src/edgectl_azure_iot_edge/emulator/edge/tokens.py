"""Decides what a module's token is good for, on the device: signatures with its own key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from edgectl_azure_iot_edge.emulator import sas

LIFE_S = 3_600.0


def sign(data: bytes, key: str) -> str:
    """Return data's HMAC-SHA256 with a base64 key, base64 too.

    Raises:
        ValueError: The key is no base64.
    """
    try:
        secret = base64.b64decode(key, validate=True)
    except binascii.Error as exc:
        raise ValueError("the key is no base64") from exc
    return base64.b64encode(hmac.new(secret, data, hashlib.sha256).digest()).decode()


def make_token(address: str, key: str, now: float, life_s: float = LIFE_S) -> str:
    """Return a token for an address as ``hub/devices/<d>/modules/<m>``."""
    return sas.make(address, key, int(now + life_s))


def token_fault(token: str, address: str, key: str, now: float) -> str:
    """Return what is wrong with a token, or "".

    A token for something above the address is good for it too.
    """
    try:
        found = sas.parse(token)
        if found.is_expired(now):
            return f"it expired at {found.expiry}"
    except sas.SasError as exc:
        return str(exc)
    if not found.covers(address):
        return f"it is for '{found.resource}'"
    return "" if found.is_signed_by(key) else "its signature is another key's"
