"""Tokens as Google's libraries get them, and calls that carry one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import google.auth.transport.requests
import grpc
from google.oauth2 import service_account

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def fetch_token(key_file: Path) -> str:
    """Get an access token as Google's libraries do."""
    credentials: Any = service_account.Credentials
    found = credentials.from_service_account_file(str(key_file), scopes=SCOPES)
    found.refresh(google.auth.transport.requests.Request())
    return str(found.token)


class Details(grpc.ClientCallDetails):  # type: ignore[misc]  # grpc has no annotations
    """A call's details with other metadata."""

    def __init__(self, details: Any, metadata: list[tuple[str, str]]) -> None:
        self.method, self.timeout = details.method, details.timeout
        self.credentials = details.credentials
        self.wait_for_ready, self.compression = details.wait_for_ready, details.compression
        self.metadata = metadata


class WithToken(
    grpc.UnaryUnaryClientInterceptor  # type: ignore[misc]  # grpc has no annotations
):
    """Puts a token into each call's metadata, which a channel without TLS does not by itself."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self._token}")]
        return continuation(Details(details, metadata), request)
