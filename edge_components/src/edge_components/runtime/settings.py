"""The runtime's settings: the device's file first, then what the command line says."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TypeVar

import msgspec

from edge_components.contract.device import (
    ENGINES,
    STORE,
    DriftSection,
    PipelineSection,
    TelemetrySection,
    parse_device_config,
)
from edge_components.contract.errors import ContractError
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.pipe import read_section

S = TypeVar("S", bound=msgspec.Struct)

_MOST_AT_ONCE = 256
_LAST_PORT = 65_535
_BOUNDS = {
    "--port": (0, _LAST_PORT),
    "--grpc-port": (0, _LAST_PORT),
    "--threads": (0, _MOST_AT_ONCE),
    "--parallel": (0, _MOST_AT_ONCE),
    "--max-batch": (1, _MOST_AT_ONCE),
    "--max-body-bytes": (1, math.inf),
    "--max-connections": (1, math.inf),
    "--drain-s": (0, math.inf),
    "--orphan-grace": (0, math.inf),
}


class SettingsError(Exception):
    """A setting cannot be used; the message is for the operator."""


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve.

    Attributes:
        grpc_port: Where gRPC listens, or None for no gRPC.
        version_dir: The version to begin with, or None.
        model: A plain ONNX file to serve instead, or None.
        models: A folder of further models, or None.
        load: Those of them that answer from the start; ``*`` for all.
        tls_cert: The server's certificate chain (PEM), with ``tls_key``; None for no TLS.
        client_ca: Authorities of which a client needs a certificate (PEM), or None.
        token_file: Where the bearer token stands that a client needs, or None.
        control_socket: Path of the control socket, or None for no control.
        engine_cache: Where what execution providers compile is kept; None is ``engines`` of the
            state folder.
        threads: That one run of a model uses; 0 for what fits the hardware and the model.
        parallel: How many requests for slow models run at once; 0 for one on each core.
        max_batch: How many requests that wait may run together; None for the profile's.
        pipeline: What the device says about its pipeline: endpoints, commands, user steps.
        pipeline_file: A pipeline (JSON) to begin with, for ``model`` or a remote one, or None.
        parent_pipe: Whether the end of stdin means that the supervisor died.
        orphan_grace_s: How long to serve after that while nobody calls the control socket.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    hardware: str = "x86-64-cpu"
    device: str = ""
    application: str = ""
    state_dir: Path = Path()
    version_dir: Path | None = None
    precision: str | None = None
    model: Path | None = None
    name: str = "model"
    models: Path | None = None
    load: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    token_file: Path | None = None
    control_socket: Path | None = None
    engine_cache: Path | None = None
    telemetry: TelemetrySection = TelemetrySection()
    drift: DriftSection = DriftSection()
    pipeline: PipelineSection = PipelineSection()
    pipeline_file: Path | None = None
    parent_pipe: bool = False
    orphan_grace_s: float = 60.0
    drain_s: float = 10.0
    max_body_bytes: int = 64 << 20
    max_connections: int = 512
    threads: int = 0
    parallel: int = 0
    max_batch: int | None = None

    @property
    def engines(self) -> Path:
        """Where what execution providers compile is kept."""
        return self.state_dir / ENGINES if self.engine_cache is None else self.engine_cache


def serve_settings(options: argparse.Namespace) -> ServeSettings:
    """Combine the command line with the configuration file that it names.

    Raises:
        SettingsError: The file cannot be read, or something needed is missing.
    """
    base = ServeSettings()
    if options.config is not None:
        base = _from_config(options.config)
    given = {
        field: getattr(options, field)
        for field in ServeSettings.__struct_fields__
        if getattr(options, field, None) is not None
    }
    if "load" in given:
        given["load"] = tuple(given["load"])
    try:
        telemetry = _overlaid(base.telemetry, "telemetry", options)
        drift = _overlaid(base.drift, "drift", options)
    except ValueError as exc:
        raise SettingsError(str(exc)) from exc
    if options.pipeline_config is not None:
        given["pipeline"] = _pipeline_section(options.pipeline_config)
    settings = msgspec.structs.replace(base, **{**given, "telemetry": telemetry, "drift": drift})
    if settings.version_dir is not None and settings.model is not None:
        raise SettingsError("--version-dir and --model cannot be used together")
    _check(settings)
    return settings


def _overlaid(section: S, prefix: str, options: argparse.Namespace) -> S:
    """Return a section of the file with what the command line says of it."""
    given = {
        field: value
        for field in section.__struct_fields__
        if (value := getattr(options, f"{prefix}_{field}", None)) is not None
    }
    return msgspec.structs.replace(section, **given)


def _check(settings: ServeSettings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsError("--tls-cert and --tls-key belong together")
    if settings.client_ca is not None and settings.tls_cert is None:
        raise SettingsError("--client-ca needs --tls-cert and --tls-key")
    if bool(settings.telemetry.certificate) != bool(settings.telemetry.key):
        raise SettingsError("--telemetry-certificate and --telemetry-key belong together")
    if settings.load and settings.models is None:
        raise SettingsError("--load needs the folder of --models")
    if settings.pipeline_file is not None and settings.version_dir is not None:
        raise SettingsError("--pipeline cannot be used with --version-dir, which has its own")
    if settings.models is not None and not settings.models.is_dir():
        raise SettingsError(f"--models: '{settings.models}' is not a folder")
    for option, (least, most) in _BOUNDS.items():
        name = option.removeprefix("--").replace("-", "_")
        value = settings.orphan_grace_s if name == "orphan_grace" else getattr(settings, name)
        if value is not None and not least <= value <= most:
            allowed = f"at least {least}" if most == math.inf else f"between {least} and {most}"
            raise SettingsError(f"{option} is {value:g}, has to be {allowed}")


def _from_config(path: Path) -> ServeSettings:
    try:
        config = parse_device_config(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise SettingsError(f"'{path}' cannot be read: {reason}") from exc
    except ContractError as exc:
        raise SettingsError(f"'{path}': {exc}") from exc
    runtime = config.runtime
    return ServeSettings(
        host=runtime.host,
        port=runtime.port,
        grpc_port=runtime.grpc_port,
        token_file=_path(runtime.token_file),
        tls_cert=_path(runtime.tls_cert),
        tls_key=_path(runtime.tls_key),
        client_ca=_path(runtime.client_ca),
        max_body_bytes=runtime.max_body_bytes,
        max_connections=runtime.max_connections,
        hardware=config.device.hardware,
        device=config.device.id,
        application=config.device.application,
        state_dir=Path(config.device.state_dir),
        engine_cache=Path(config.device.state_dir) / STORE / ENGINES,
        telemetry=config.telemetry,
        drift=config.drift,
        pipeline=config.pipeline,
    )


def _pipeline_section(path: Path) -> PipelineSection:
    try:
        return read_section(path)
    except PipelineError as exc:
        raise SettingsError(f"--pipeline-config: {exc}") from exc


def _path(text: str) -> Path | None:
    return Path(text) if text else None
