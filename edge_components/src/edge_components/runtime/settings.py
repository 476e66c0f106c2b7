"""The runtime's settings: the device's file first, then what the command line says."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from edge_components.contract.device import (
    ENGINES,
    STORE,
    PipelineSection,
    TelemetrySection,
    parse_device_config,
)
from edge_components.contract.errors import ContractError

_MOST_AT_ONCE = 256


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
    pipeline: PipelineSection = PipelineSection()
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
    telemetry = msgspec.structs.replace(
        base.telemetry,
        **{
            field: value
            for field in TelemetrySection.__struct_fields__
            if (value := getattr(options, f"telemetry_{field}", None)) is not None
        },
    )
    settings = msgspec.structs.replace(base, **{**given, "telemetry": telemetry})
    if settings.version_dir is not None and settings.model is not None:
        raise SettingsError("--version-dir and --model cannot be used together")
    _check(settings)
    return settings


def _check(settings: ServeSettings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsError("--tls-cert and --tls-key belong together")
    if settings.client_ca is not None and settings.tls_cert is None:
        raise SettingsError("--client-ca needs --tls-cert and --tls-key")
    if settings.load and settings.models is None:
        raise SettingsError("--load needs the folder of --models")
    if settings.models is not None and not settings.models.is_dir():
        raise SettingsError(f"--models: '{settings.models}' is not a folder")
    numbers = (("--threads", settings.threads), ("--parallel", settings.parallel))
    for name, value in (*numbers, ("--max-batch", settings.max_batch or 0)):
        if not 0 <= value <= _MOST_AT_ONCE:
            raise SettingsError(f"{name} is {value}, has to be between 0 and {_MOST_AT_ONCE}")


def _from_config(path: Path) -> ServeSettings:
    try:
        config = parse_device_config(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"'{path}' cannot be read: {exc}") from exc
    except ContractError as exc:
        raise SettingsError(f"'{path}': {exc}") from exc
    return ServeSettings(
        host=config.runtime.host,
        port=config.runtime.port,
        hardware=config.device.hardware,
        device=config.device.id,
        application=config.device.application,
        state_dir=Path(config.device.state_dir),
        engine_cache=Path(config.device.state_dir) / STORE / ENGINES,
        telemetry=config.telemetry,
        pipeline=config.pipeline,
    )
