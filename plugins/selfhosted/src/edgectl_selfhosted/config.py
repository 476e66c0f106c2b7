"""The provider's part of the project file, and what follows from it without any I/O.

``url`` names a hawkBit server: our hub, or a real Eclipse hawkBit. Everything else has a default
that fits our hub.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

DEFAULT_URL = "http://127.0.0.1:8280"
OTLP_PATH = "/v1/logs"


class SelfhostedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``providers.selfhosted`` of the project file.

    Attributes:
        url: The server's address, for the management API.
        tenant: The hawkBit tenant. A real hawkBit takes it from the user's name, so any other
            than ``DEFAULT`` is written before the user, with a backslash between.
        username: For HTTP Basic.
        password: For HTTP Basic; meant for ``${ENV}``, never for a plain value.
        password_file: A file whose first line is the password; relative to the project.
        token: A bearer token, in place of user and password.
        token_file: A file whose first line is the token; relative to the project.
        ca: PEM file with the authorities to trust for ``url``; relative to the project.
        telemetry_url: Server that records are read back from, with the same credentials; "" is
            ``url``.
        telemetry_files: Glob of OTLP JSON lines files, as an OpenTelemetry collector's file
            exporter writes them; read in place of ``telemetry_url``.
        device_url: The server's address as devices see it; "" is ``url``.
        device_telemetry_url: The OTLP/HTTP logs endpoint that devices write to; "" is
            ``device_url`` with ``/v1/logs``.
        device_ca: Where the device finds the authorities to trust for ``device_url``; "" is the
            system's, or ``ca.pem`` in its state folder if ``ca`` is given.
        device_state_dir: Folder on the device, a folder with the device's name is made in it.
        registry: An OCI registry, with a path where it wants one (``host/team``), that packages
            are pushed to as well, as ``<registry>/<application>:release-<number>``; or "".
        timeout_s: How long one request may stand still.
        unreachable_after_s: A device that was given a release and has never called is called
            unreachable after this; for the others the server's own poll supervision decides.
    """

    url: str = DEFAULT_URL
    tenant: str = "DEFAULT"
    username: str = ""
    password: str = ""
    password_file: str = ""
    token: str = ""
    token_file: str = ""
    ca: str = ""
    telemetry_url: str = ""
    telemetry_files: str = ""
    device_url: str = ""
    device_telemetry_url: str = ""
    device_ca: str = ""
    device_state_dir: str = "/var/lib/edgectl"
    registry: str = ""
    timeout_s: float = 30.0
    unreachable_after_s: float = 900.0

    def __post_init__(self) -> None:
        """Check what the types cannot say; msgspec reports it with the key's path."""
        for key in ("url", "telemetry_url", "device_url", "device_telemetry_url"):
            value: str = getattr(self, key)
            if value or key == "url":
                _check_url(key, value)
        if self.timeout_s <= 0 or self.unreachable_after_s <= 0:
            raise ValueError("`timeout_s` and `unreachable_after_s` have to be above 0")
        if (self.token or self.token_file) and (self.username or self.has_password):
            raise ValueError("give either `token` or `username` with a password, not both")
        if self.has_password and not self.username:
            raise ValueError("a password needs a `username`")
        if (self.password and self.password_file) or (self.token and self.token_file):
            raise ValueError("give the secret or its file, not both")

    def __repr__(self) -> str:
        """Name the server only: a secret may stand in the other fields."""
        return f"SelfhostedConfig(url={self.url!r}, tenant={self.tenant!r})"

    @property
    def has_password(self) -> bool:
        """Whether a password is configured, in place or in a file."""
        return bool(self.password or self.password_file)

    @property
    def server(self) -> str:
        """The management API's base address, without a final slash."""
        return self.url.rstrip("/")

    @property
    def telemetry_server(self) -> str:
        """Where records are read back, without a final slash."""
        return (self.telemetry_url or self.url).rstrip("/")

    @property
    def device_server(self) -> str:
        """The address that devices use, without a final slash."""
        return (self.device_url or self.url).rstrip("/")

    @property
    def device_otlp(self) -> str:
        """Where devices send telemetry."""
        return self.device_telemetry_url or self.device_server + OTLP_PATH

    @property
    def login(self) -> str:
        """The user's name as the server wants it."""
        return self.username if self.tenant == "DEFAULT" else f"{self.tenant}\\{self.username}"


def in_project(path: str, project_dir: Path) -> Path:
    """Return a configured path, relative ones below the project's folder."""
    return project_dir / Path(path).expanduser()


def same_origin(first: str, second: str) -> bool:
    """Whether two addresses are one server; a device's token is shown to its server only."""
    return _origin(first) == _origin(second)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


def _check_url(key: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        bad = parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0
    except ValueError:
        bad = True
    if bad:
        raise ValueError(f"`{key}` is '{value}', expected an address such as https://hub.example")
    if parts.username or parts.password:
        raise ValueError(f"`{key}` must not hold credentials; use `username` and `password_file`")
    if parts.query or parts.fragment:
        raise ValueError(f"`{key}` must not have a query or a fragment")
