"""Microsoft Entra ID, as far as service principals log in: clients, their roles, their tokens.

Access tokens are JSON Web Tokens for an audience, as the real ones are; SDKs never look inside, the
services here do. A client with no role for an action is refused by the service, not here.
"""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jwt
import msgspec

from edgectl.api import Record

LIFE = timedelta(hours=1)
ADMINISTRATOR = "00000000-0000-4000-8000-0000000000aa"
OWNER_OF_EVERYTHING = ("*",)
_ALGORITHM = "HS256"

ROLES: Mapping[str, tuple[str, ...]] = {
    "IoT Hub Data Contributor": ("Microsoft.Devices/IotHubs/*",),
    "IoT Hub Data Reader": ("Microsoft.Devices/IotHubs/*/read",),
    "IoT Hub Registry Contributor": ("Microsoft.Devices/IotHubs/devices/*",),
    "IoT Hub Twin Contributor": ("Microsoft.Devices/IotHubs/twins/*",),
    "AzureML Data Scientist": ("Microsoft.MachineLearningServices/*",),
    "AcrPull": ("Microsoft.ContainerRegistry/registries/pull/read",),
    "AcrPush": ("Microsoft.ContainerRegistry/registries/*",),
    "Storage Blob Data Contributor": ("Microsoft.Storage/storageAccounts/blobServices/*",),
    "Azure Event Hubs Data Receiver": ("Microsoft.EventHub/*",),
    "Contributor": (),
    "Reader": (),
}
"""Data actions by built-in role. Owner and Contributor have none: they get 401 at the hub."""


class Client(Record, frozen=True, kw_only=True):
    """A service principal.

    Attributes:
        client_id: A UUID.
        secret: Its password.
        actions: The data actions that its roles allow, with ``*``.
    """

    client_id: str
    secret: str
    actions: tuple[str, ...]


class Token(Record, frozen=True, kw_only=True):
    """A good access token.

    Attributes:
        client_id: Whose it is.
        audience: For which service.
        actions: What its roles allow.
    """

    client_id: str
    audience: str
    actions: tuple[str, ...]

    def allows(self, action: str) -> bool:
        """Say whether a role has a data action, ``Microsoft.Devices/IotHubs/twins/read``."""
        return any(fnmatchcase(action, pattern) for pattern in self.actions)


class TokenError(Exception):
    """A token or a log-in is refused.

    Attributes:
        code: ``AADSTS…`` for log-ins, else what is wrong in a word.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Kept(msgspec.Struct):
    key: str
    administrator: str


class Directory:
    """The tenant.

    Args:
        folder: Keeps the signing key and the administrator's secret across restarts.
        tenant: Its id.
        now: The account's time.
    """

    def __init__(self, folder: Path, *, tenant: str, now: Callable[[], datetime]) -> None:
        self.tenant = tenant
        self._now = now
        self._lock = threading.Lock()
        kept = _keep(folder / "directory.json")
        self._key = base64.b64decode(kept.key)
        self.administrator = Client(
            client_id=ADMINISTRATOR, secret=kept.administrator, actions=OWNER_OF_EVERYTHING
        )
        self._clients = {ADMINISTRATOR: self.administrator}

    def add(self, roles: tuple[str, ...]) -> Client:
        """Make a service principal with built-in roles.

        Raises:
            KeyError: There is no such role.
        """
        actions = tuple(action for role in roles for action in ROLES[role])
        made = secrets.token_hex(16)
        client_id = "-".join((made[:8], made[8:12], "4000", "8000", made[20:32]))
        client = Client(client_id=client_id, secret=secrets.token_urlsafe(24), actions=actions)
        with self._lock:
            self._clients[client_id] = client
        return client

    def log_in(self, client_id: str, secret: str, scope: str) -> tuple[str, int]:
        """Give a client a token for a scope (``https://iothubs.azure.net/.default``).

        Returns:
            The token and its life in seconds.

        Raises:
            TokenError: The client or its secret is not known.
        """
        client = self._clients.get(client_id)
        if client is None:
            raise TokenError(
                "AADSTS700016",
                f"Application with identifier '{client_id}' was not found in the directory "
                f"'{self.tenant}'.",
            )
        if not secrets.compare_digest(client.secret, secret):
            raise TokenError("AADSTS7000215", "Invalid client secret provided.")
        return self.issue(client_id, scope.removesuffix("/.default")), int(LIFE.total_seconds())

    def issue(self, client_id: str, audience: str, life: timedelta = LIFE) -> str:
        """Return a token; a negative life makes one that is over."""
        now = self._now()
        claims = {
            "aud": audience.rstrip("/"),
            "iss": f"https://sts.windows.net/{self.tenant}/",
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int((now + life).timestamp()),
            "appid": client_id,
            "oid": client_id,
            "sub": client_id,
            "tid": self.tenant,
            "ver": "1.0",
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def check(self, token: str, *audiences: str) -> Token:
        """Look at a bearer token.

        Args:
            token: Without the word ``Bearer``.
            audiences: The services that it may be for, without a slash at the end.

        Raises:
            TokenError: It is forged, over, of another tenant or for another service.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as exc:
            raise TokenError("InvalidToken", f"the token is not good: {exc}") from exc
        if claims["exp"] <= self._now().timestamp():
            raise TokenError("ExpiredToken", "the token is expired")
        if claims["aud"] not in audiences:
            raise TokenError("InvalidAudience", f"the token is for '{claims['aud']}'")
        client = self._clients.get(claims["appid"])
        if client is None:
            raise TokenError("UnknownClient", f"no client '{claims['appid']}'")
        return Token(client_id=client.client_id, audience=claims["aud"], actions=client.actions)


def _keep(file: Path) -> _Kept:
    if file.exists():
        return msgspec.json.decode(file.read_bytes(), type=_Kept)
    made = _Kept(
        key=base64.b64encode(secrets.token_bytes(32)).decode(),
        administrator=secrets.token_urlsafe(24),
    )
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(made))
    return made
