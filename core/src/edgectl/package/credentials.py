"""Registry credentials from where docker, skopeo and oras keep them.

Read from ``$DOCKER_CONFIG/config.json`` (else ``~/.docker/config.json``): a credential helper for
the registry, then the default credential store, then ``auths``. Helpers are run without a shell;
what they print is never shown.
Source: docker's credential helper protocol (``docker-credential-<name> get``).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from pathlib import Path

import msgspec

from edgectl.errors import RegistryError

MAX_CONFIG_BYTES = 4 << 20
_HELPER_TIMEOUT_S = 30.0
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
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
        """The value of a Basic ``Authorization`` header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class _Auth(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _DockerConfig(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, _Auth] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


class _HelperAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    username: str = ""
    secret: str = ""


_CONFIGS = msgspec.json.Decoder(_DockerConfig)
_HELPER_ANSWERS = msgspec.json.Decoder(_HelperAnswer)


def find_credentials(host: str) -> Credentials | None:
    """Return the credentials for a registry, or None where there are none.

    Raises:
        RegistryError: The configuration or the helper's answer cannot be read.
    """
    config = _read_config(config_path())
    helper = config.cred_helpers.get(host) or config.creds_store
    if helper and (found := _ask_helper(helper, host)) is not None:
        return found
    for name in (host, f"https://{host}", f"https://{host}/v2/", f"https://{host}/v1/"):
        if name in config.auths:
            return _from_auth(config.auths[name], host)
    return None


def config_path() -> Path:
    """Return where docker keeps its configuration."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def _read_config(path: Path) -> _DockerConfig:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return _DockerConfig()
    except OSError as exc:
        raise RegistryError(f"'{path}' cannot be read: {exc.strerror}") from exc
    try:
        return _CONFIGS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RegistryError(f"'{path}' cannot be read: {exc}") from exc


def _from_auth(auth: _Auth, host: str) -> Credentials | None:
    if auth.identitytoken:
        return Credentials(identity_token=auth.identitytoken)
    if auth.username:
        return Credentials(username=auth.username, password=auth.password)
    if not auth.auth:
        return None
    try:
        username, _, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise RegistryError(
            f"the saved login of '{host}' cannot be read", hint="Log in to the registry again."
        ) from exc
    return Credentials(username=username, password=password)


def _ask_helper(helper: str, host: str) -> Credentials | None:
    if not _HELPER.fullmatch(helper):
        raise RegistryError(f"'{helper}' is not the name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        answer = subprocess.run(
            [program, "get"],
            input=host.encode(),
            capture_output=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as exc:
        raise RegistryError(
            f"the credential helper '{program}' is not installed",
            hint=f"Install it, or take it out of '{config_path()}'.",
        ) from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise RegistryError(f"the credential helper '{program}' did not answer") from exc
    if answer.returncode:
        return None
    try:
        found = _HELPER_ANSWERS.decode(answer.stdout)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RegistryError(f"the answer of '{program}' for '{host}' cannot be read") from exc
    if found.username == _NO_USER:
        return Credentials(identity_token=found.secret)
    return Credentials(username=found.username, password=found.secret)
