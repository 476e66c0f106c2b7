"""Content digests as OCI writes them: ``sha256:<64 hex>``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from edge_components.contract.errors import ContractError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256_digest(data: bytes) -> str:
    """Return the digest of ``data`` in OCI form."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def check_digest(value: str) -> str:
    """Return ``value`` if it is a sha256 digest in OCI form.

    Raises:
        ContractError: ``bad-digest``.
    """
    if not _DIGEST.fullmatch(value):
        raise ContractError("bad-digest", f"'{value[:80]}' is not a sha256 digest")
    return value


def digest_hex(value: str) -> str:
    """Return the 64 hexadecimal digits of a digest in OCI form.

    Raises:
        ContractError: ``bad-digest``.
    """
    return check_digest(value).removeprefix("sha256:")


def engine_key(digests: Iterable[str]) -> str:
    """Return the name of the folder for what is compiled from weights of these digests.

    The runtime fills the folder, the store removes it; both find it by the manifest alone.
    """
    listed = sorted(set(digests))
    if len(listed) == 1:
        return digest_hex(listed[0])
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()
