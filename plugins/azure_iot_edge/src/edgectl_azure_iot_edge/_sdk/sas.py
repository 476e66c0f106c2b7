"""A hub's connection string, and the tokens that it signs ("Control access to IoT Hub")."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import quote_plus

from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy

from edgectl.api import Record
from edgectl_azure_iot_edge.errors import bad_connection_string

LIFE_S = 3600
_RENEW_S = 600


class ConnectionString(Record, frozen=True, kw_only=True):
    """What a connection string says.

    Attributes:
        host: The hub's host name, with a port where it has one.
        policy: The shared access policy's name.
    """

    host: str
    policy: str
    key: str

    def __repr__(self) -> str:
        """Return what may be shown."""
        return f"ConnectionString(host={self.host!r}, policy={self.policy!r})"


def parse_connection_string(text: str) -> ConnectionString:
    """Read a connection string.

    Raises:
        AuthError: It is none; the key does not stand in the message.
    """
    parts = dict(part.split("=", 1) for part in text.strip().split(";") if "=" in part)
    missing = [
        name
        for name in ("HostName", "SharedAccessKeyName", "SharedAccessKey")
        if not parts.get(name)
    ]
    if missing:
        raise bad_connection_string(f"it has no {missing[0]}")
    try:
        base64.b64decode(parts["SharedAccessKey"], validate=True)
    except binascii.Error as exc:
        raise bad_connection_string("its SharedAccessKey is not base64") from exc
    return ConnectionString(
        host=parts["HostName"], policy=parts["SharedAccessKeyName"], key=parts["SharedAccessKey"]
    )


def sign(connection: ConnectionString, expiry: int) -> str:
    """Return a shared access signature.

    Args:
        connection: Whose key signs.
        expiry: Until when it is good, seconds since 1970 UTC.
    """
    resource = quote_plus(connection.host)
    key = base64.b64decode(connection.key)
    digest = hmac.new(key, f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = quote_plus(base64.b64encode(digest))
    policy = quote_plus(connection.policy)
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={policy}"


class SasPolicy(SansIOHTTPPolicy):  # type: ignore[type-arg]  # generic over the transport's types
    """Signs every request; a token is made anew before it ends.

    Args:
        connection: Whose key signs.
        clock: Seconds since 1970 UTC.
    """

    def __init__(self, connection: ConnectionString, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._token, self._expiry = "", 0

    def on_request(self, request: PipelineRequest) -> None:  # type: ignore[type-arg]  # as above
        """Put the token into a request."""
        now = int(self._clock())
        if self._expiry - now < _RENEW_S:
            self._token, self._expiry = sign(self._connection, now + LIFE_S), now + LIFE_S
        request.http_request.headers["Authorization"] = self._token
