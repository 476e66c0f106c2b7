"""A device's own configuration, and how its version folders look.

Enrolment writes the configuration as TOML, the agent and the runtime read it. A version folder
is what the agent hands to the runtime::

    versions/<release number>/
        release.json     the DSSE envelope of the release
        manifest.json    the package's manifest, byte for byte
        model.sig        the package's Sigstore bundle
        package/         the package's files at their paths

Beside them in the store stand ``engines/<model>/``, what execution providers made of a model for
this very machine, and ``bench.json``, the last report of ``edge-runtime bench``.
"""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec

from edge_components.contract.errors import ContractError

PEM_MARK = "-----BEGIN "
VERSION_RELEASE = "release.json"
VERSION_MANIFEST = "manifest.json"
VERSION_SIGNATURE = "model.sig"
VERSION_PACKAGE = "package"
STORE = "store"
ENGINES = "engines"
BENCH_FILE = "bench.json"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


def _check_above_0(section: _Section, title: str, *names: str) -> None:
    for name in names:
        if not (value := getattr(section, name)) > 0:
            raise ValueError(f"'{name}' of [{title}] is {value:g}, has to be above 0")


class DeviceSection(_Section, frozen=True, kw_only=True):
    """Who the device is and where it keeps its state."""

    id: str
    application: str
    hardware: str
    state_dir: str


class HubSection(_Section, frozen=True, kw_only=True):
    """The hawkBit-compatible server.

    Attributes:
        url: Base address, without the tenant.
        token: The TargetToken, or "" where the client certificate says who it is.
        ca: Path of a PEM file with the authorities to trust, or "".
        certificate: Path of the client certificate (PEM), or "".
        poll_s: Seconds between polls; 0 takes what the server says.
    """

    url: str
    tenant: str = "DEFAULT"
    token: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    poll_s: float = 0.0


class TrustSection(_Section, frozen=True, kw_only=True):
    """Whose releases are taken.

    Attributes:
        publishers: Public keys (ECDSA P-256, P-384 or P-521): PEM text, or the path of a PEM file.
    """

    publishers: tuple[str, ...]


class RuntimeSection(_Section, frozen=True, kw_only=True):
    """Where the inference server listens and who may call; loopback unless the site says otherwise.

    Attributes:
        grpc_port: Where gRPC listens, or None for no gRPC.
        token_file: Path of the file with the bearer token that a client needs, or "".
        tls_cert: Path of the server's certificate chain (PEM), with ``tls_key``; "" for no TLS.
        client_ca: Path of the authorities of which a client needs a certificate (PEM), or "".
        max_body_bytes: Largest request.
        max_connections: Most connections at once.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    token_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    client_ca: str = ""
    max_body_bytes: int = 64 << 20
    max_connections: int = 512


class StoreSection(_Section, frozen=True, kw_only=True):
    """How much the device keeps.

    Attributes:
        keep: Good versions that stay, the active one included; at least 2.
        max_bytes: Budget of the store, 0 for what the disk has.
        reserve_bytes: Free space that an update leaves on the disk.
        compare_bytes: All variants are fetched and measured against each other where those beside
            the preferred one take so many bytes at most; 0 fetches one variant at a time.
    """

    keep: int = 2
    max_bytes: int = 0
    reserve_bytes: int = 16 << 20
    compare_bytes: int = 0


class TelemetrySection(_Section, frozen=True, kw_only=True):
    """Where records go, and what the queue on disk may hold.

    Attributes:
        url: An OTLP/HTTP logs endpoint (``…/v1/logs``), ``mqtt(s)://broker/topic``,
            ``file:///path``, or "" for none.
        authorization: Value of the Authorization header, or "".
        ca: Path of the authorities to trust (PEM), or "" for the system's.
        certificate: Path of the device's client certificate (PEM), with ``key``, or "".
    """

    url: str = ""
    authorization: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    max_bytes: int = 32 << 20
    ttl_s: float = 7 * 86_400.0
    interval_s: float = 10.0
    health_interval_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what would keep nothing, or never rest.

        Raises:
            ValueError: With the key.
        """
        _check_above_0(self, "telemetry", "max_bytes", "ttl_s", "interval_s", "health_interval_s")


class EndpointSection(_Section, frozen=True, kw_only=True):
    """Somebody whom the pipeline talks to, under the name that a release uses.

    Attributes:
        url: Where; it wins over what the release says. Needed where there are credentials, so
            that a release cannot send them elsewhere.
        token_file: A bearer token for HTTP, in a file.
        username: For MQTT and basic authentication, with ``password_file``.
        ca: Path of a PEM file with the authorities to trust, or "" for the system's.
        certificate: Path of a client certificate (PEM), with ``key``, or "".
    """

    url: str = ""
    token_file: str = ""
    username: str = ""
    password_file: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        """Refuse credentials for nobody.

        Raises:
            ValueError: With what is missing.
        """
        if not self.url and (self.token_file or self.username or self.certificate):
            raise ValueError("has credentials, but no 'url' that they are for")


class PipelineSection(_Section, frozen=True, kw_only=True):
    """What only this device can say about its pipeline; a release names these by name.

    Attributes:
        endpoints: Whom to talk to.
        commands: What an alarm may run: program and arguments, without a shell.
        steps: User steps as ``module:function``, beside those that are installed as entry points.
        release_urls: Whether a release may name addresses itself; False takes endpoints only.
    """

    endpoints: dict[str, EndpointSection] = {}
    commands: dict[str, tuple[str, ...]] = {}
    steps: dict[str, str] = {}
    release_urls: bool = True


class DriftSection(_Section, frozen=True, kw_only=True):
    """When a window of requests is compared with the golden set, and what counts as drift.

    Attributes:
        window_rows: A window ends after so many sampled rows.
        window_s: Or after so many seconds, if there are ``min_rows``.
        psi: Threshold of the population stability index; 0.25 is the usual "has shifted".
        ks: Threshold of the Kolmogorov-Smirnov distance.
        rate_per_s: Requests that are sampled, at most; 0 measures no drift.
    """

    window_rows: int = 1000
    window_s: float = 300.0
    min_rows: int = 30
    psi: float = 0.25
    ks: float = 0.2
    rate_per_s: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what cannot be a threshold or a window.

        Raises:
            ValueError: With the key.
        """
        _check_above_0(self, "drift", "window_rows", "window_s", "min_rows", "psi", "ks")
        if not self.rate_per_s >= 0:
            raise ValueError("'rate_per_s' of [drift] cannot be below 0")


class DeviceConfig(_Section, frozen=True, kw_only=True):
    """The device's configuration file."""

    device: DeviceSection
    hub: HubSection | None = None
    trust: TrustSection
    runtime: RuntimeSection = RuntimeSection()
    store: StoreSection = StoreSection()
    telemetry: TelemetrySection = TelemetrySection()
    drift: DriftSection = DriftSection()
    pipeline: PipelineSection = PipelineSection()

    def to_toml(self) -> str:
        """Return the configuration as TOML; ``parse_device_config`` reads it back.

        What has its default is left out, so that the agent of an older release, which refuses keys
        that it does not know, reads a file that uses nothing new.
        """
        plain: dict[str, Any] = msgspec.to_builtins(self)
        sections = []
        for name, values in plain.items():
            section = getattr(self, name)
            if section is None:
                continue
            usual = _defaults(type(section))
            lines = [
                f"{key} = {_toml_value(value)}"
                for key, value in values.items()
                if value is not None and (key not in usual or getattr(section, key) != usual[key])
            ]
            if lines:
                sections.append("\n".join([f"[{name}]", *lines]))
        return "\n\n".join(sections) + "\n"


def parse_device_config(text: str) -> DeviceConfig:
    """Read a device's configuration.

    Raises:
        ContractError: ``bad-config``, with the key in the message.
    """
    try:
        return msgspec.convert(tomllib.loads(text), DeviceConfig)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise ContractError(
            "bad-config", f"the device configuration cannot be read: {exc}"
        ) from exc


def _defaults(section: type[msgspec.Struct]) -> dict[str, Any]:
    """Return what each key of a section is where nobody says it; nothing for needed keys."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(section):
        if field.default is not msgspec.NODEFAULT:
            found[field.name] = field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            found[field.name] = field.default_factory()
    return found


def _toml_value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{_toml_value(key)} = {_toml_value(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    # A JSON scalar is a TOML scalar once DEL, which JSON leaves bare, is escaped (TOML 1.0).
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
