"""Who a device is to a registry: a file of the form of docker's ``config.json``.

Kubernetes writes image pull secrets in this form, and operators know it. Only ``auths`` is read:
there is no credential helper on a device. The file is read at each use, so that a password which is
renewed is taken up without a restart.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json

_MAX_BYTES = 1 << 20
_NO_USER = "<token>"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A name and password, or an identity token; never printed."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"

    @property
    def basic(self) -> str:
        """Value of the Authorization header that says who we are (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class _Auth(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _Config(msgspec.Struct, frozen=True):
    auths: dict[str, _Auth] = {}


def read_credentials(file: Path | None, host: str) -> Credentials | None:
    """Return what the file says for that registry; None for nothing.

    Raises:
        ContractError: ``bad-config``: the file is there and cannot be read.
    """
    if file is None:
        return None
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ContractError("bad-config", f"'{file}' cannot be read: {exc.strerror}") from exc
    config = decode_json(data, _Config, what=f"'{file}'", max_bytes=_MAX_BYTES)
    found = next((auth for key, auth in config.auths.items() if _host_of(key) == host), None)
    return None if found is None else _credentials(found, file)


def _host_of(key: str) -> str:
    """Return the registry that a key means; docker also writes ``https://host/v1/``."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _credentials(auth: _Auth, file: Path) -> Credentials | None:
    username, password = auth.username, auth.password
    if auth.auth:
        try:
            pair = base64.b64decode(auth.auth, validate=True).decode()
        except (binascii.Error, ValueError) as exc:
            raise ContractError("bad-config", f"'{file}': an 'auth' cannot be read") from exc
        username, _, password = pair.partition(":")
    token = auth.identitytoken
    if username == _NO_USER:
        token = token or password
    if not token and not username:
        return None
    return Credentials(username=username, password=password.rstrip("\0"), identity_token=token)
