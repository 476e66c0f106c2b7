"""Who is asking: operators by password or bearer token, devices by token or certificate.

The first start writes a random password for the user ``admin`` to ``admin-password`` (mode 0600);
it is also the bearer token. The database keeps only its scrypt hash. A changed file is taken over
at the next start. All comparisons take the same time whatever is compared.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from edgectl_selfhosted.hub.config import OPERATOR
from edgectl_selfhosted.hub.errors import Fault, HubError

_SCRYPT_N = 1 << 14
_FIRST_GUESSES = 3


def read_or_make_secret(path: Path) -> str:
    """Return the secret in a file, making file and secret (mode 0600) if there is none."""
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(24)
        write_private(path, secret + "\n")
        return secret


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def hash_password(password: str) -> str:
    """Return salt and scrypt hash of a password."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}:{_scrypt(password.encode(), salt).hex()}"


def verify_password(password: bytes, stored: str) -> bool:
    """Whether a password is the one that was hashed."""
    salt, _, digest = stored.partition(":")
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), bytes.fromhex(digest))


def _scrypt(password: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=_SCRYPT_N, r=8, p=1, maxmem=64 << 20)


def equal(one: str, other: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


class Operators:
    """Checks operators' credentials, remembering the last good one under a key of this process."""

    def __init__(self, password_hash: str) -> None:
        self._hash = password_hash
        self._key = secrets.token_bytes(32)
        self._good: bytes = b""
        self._one_at_a_time = asyncio.Semaphore(1)

    async def check(self, authorization: str) -> None:
        """Let a good ``Authorization`` header pass.

        Raises:
            HubError: ``UNAUTHORIZED``.
        """
        password = _password(authorization)
        if password is None:
            raise HubError(
                Fault.UNAUTHORIZED, "operators sign in with HTTP Basic or a bearer token"
            )
        tag = hmac.digest(self._key, password, "sha256")
        if self._good and hmac.compare_digest(tag, self._good):
            return
        async with self._one_at_a_time:
            good = await asyncio.to_thread(verify_password, password, self._hash)
        if not good:
            raise HubError(Fault.UNAUTHORIZED, "user name, password or token is wrong")
        self._good = tag


def _password(authorization: str) -> bytes | None:
    """Return the password that is offered; an empty one, which nobody has, for another user."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode()[:256]
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).partition(b":")
    except ValueError:  # not base64, or not even ASCII
        return None
    if not colon:
        return None
    return password[:256] if hmac.compare_digest(user, OPERATOR.encode()) else b""
