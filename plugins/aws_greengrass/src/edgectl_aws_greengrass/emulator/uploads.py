"""What S3 does with an upload and moto does not: check the content, keep the spelling of names."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from moto.core.request import Request

from edgectl_aws_greengrass.emulator.wire import ServiceError

MAX_KEY_BYTES = 1024


def _crc32(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


def _sha1(body: bytes) -> bytes:
    return hashlib.sha1(body, usedforsecurity=False).digest()


_CHECKSUMS: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "x-amz-checksum-crc32": ("CRC32", _crc32),
    "x-amz-checksum-sha1": (
        "SHA1",
        lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    ),
    "x-amz-checksum-sha256": ("SHA256", lambda body: hashlib.sha256(body).digest()),
}


def check_upload(operation: str, key: str, request: Request) -> None:
    """Check an object or a part before it is kept.

    Raises:
        ServiceError: ``BadDigest`` or ``KeyTooLongError``.
    """
    if operation not in {"PutObject", "UploadPart"}:
        return
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ServiceError("KeyTooLongError", "Your key is too long", 400)
    if "aws-chunked" in request.headers.get("Content-Encoding", ""):
        return  # the checksum follows the content, and moto reads both
    body = request.get_data(cache=True)
    given = request.headers.get("Content-MD5")
    if given and _text(hashlib.md5(body, usedforsecurity=False).digest()) != given:
        raise ServiceError(
            "BadDigest", "The Content-MD5 you specified did not match what we received.", 400
        )
    for header, (name, digest) in _CHECKSUMS.items():
        given = request.headers.get(header)
        if given is None:
            continue
        if _text(digest(body)) != given:
            raise ServiceError(
                "BadDigest", f"The {name} you specified did not match the calculated checksum.", 400
            )
        # moto keeps a checksum only where its algorithm is named besides
        request.environ.setdefault("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", name)


def keep_metadata_names(environ: dict[str, Any], headers: Iterable[tuple[str, str]]) -> None:
    """Note how metadata names are spelled, which a WSGI environment does not keep, for moto."""
    environ["moto.preserved_header_names"] = {
        f"HTTP_{name.upper().replace('-', '_')}": name
        for name, _ in headers
        if "_" in name and name.lower().startswith("x-amz-meta-")
    }


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
