"""A registry's refusals, in the words of the specification.

Source: OCI distribution-spec 1.1, "Error Codes"; docker's registry for those that it only implies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

_STATUS = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "PAGINATION_NUMBER_INVALID": 400,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNSUPPORTED": 405,
}


class RefusedError(Exception):
    """A request that the registry does not fulfil.

    Attributes:
        code: The specification's word.
        status: The HTTP status.
        headers: Headers that go with it.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS.get(code, 400) if status is None else status
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the answer's body."""
        return json.dumps(
            {"errors": [{"code": self.code, "message": str(self), "detail": None}]}
        ).encode()
