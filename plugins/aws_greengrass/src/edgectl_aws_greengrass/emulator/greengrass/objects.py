"""What the Greengrass service reads of S3: artifacts and their digests."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from moto.s3.models import s3_backends

from edgectl_aws_greengrass.emulator.callers import PARTITION


class ArtifactError(Exception):
    """An artifact cannot be read; the text says why."""


class Objects:
    """The account's buckets.

    Args:
        account: Twelve digits.
    """

    def __init__(self, account: str) -> None:
        self._account = account

    def stored(self, uri: str) -> Any:
        """Return moto's key of an ``s3://bucket/key``.

        Raises:
            ArtifactError: There is no such object.
        """
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        backend = s3_backends[self._account][PARTITION]
        found = backend.buckets.get(bucket)
        value = found.keys.get(key) if found is not None else None
        if value is None:
            raise ArtifactError("Specified artifact resource cannot be accessed")
        return value

    def digest(self, uri: str) -> tuple[str, int]:
        """Return the base64 SHA-256 and the size of an object.

        Raises:
            ArtifactError: There is no such object.
        """
        content: bytes = self.stored(uri).value
        return base64.b64encode(hashlib.sha256(content).digest()).decode(), len(content)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Write an object.

        Raises:
            ArtifactError: There is no such bucket.
        """
        backend = s3_backends[self._account][PARTITION]
        if bucket not in backend.buckets:
            raise ArtifactError(f"the bucket '{bucket}' does not exist")
        backend.put_object(bucket, key, content)

    def read(self, uri: str) -> bytes:
        """Return an object's content.

        Raises:
            ArtifactError: There is no such object.
        """
        content: bytes = self.stored(uri).value
        return content

    def names(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys below a prefix, sorted.

        Raises:
            ArtifactError: There is no such bucket.
        """
        backend = s3_backends[self._account][PARTITION]
        found = backend.buckets.get(bucket)
        if found is None:
            raise ArtifactError(f"the bucket '{bucket}' does not exist")
        return sorted(name for name in found.keys if name.startswith(prefix))
