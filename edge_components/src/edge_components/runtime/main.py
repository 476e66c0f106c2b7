"""The command ``edge-runtime``: serve, check a version, or measure this machine."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
from pathlib import Path

import msgspec

from edge_components import __version__
from edge_components.pipeline import pipe
from edge_components.runtime import footprint
from edge_components.runtime.check import check_here, check_version
from edge_components.runtime.reports import CheckReport
from edge_components.runtime.settings import SettingsError, serve_settings
from edge_components.runtime.version import ActivationError

_HINTS = {
    errno.EADDRINUSE: "another port, or 0 for any free one, can be given",
    errno.EADDRNOTAVAIL: "the host has to be an address of this machine, 0.0.0.0 is all of them",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 for a known error, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    others = {"check": _check, "bench": _bench, "pipe": pipe.main}
    if options.command in others:
        return others[options.command](options)
    footprint.prepare()
    # Only serving pays for importing ONNX Runtime here.
    from edge_components.runtime.serve import serve  # noqa: PLC0415  # see above

    try:
        return serve(serve_settings(options))
    except SettingsError as exc:
        return _fail(str(exc), 2)
    except ActivationError as exc:
        return _fail(f"{exc.reason}: {exc.detail}", 1)
    except OSError as exc:
        return _fail(f"cannot serve: {_reason(exc)}", 1)


def _check(options: argparse.Namespace) -> int:
    check = check_here if options.in_process else check_version
    report = check(
        options.version_dir,
        options.hardware,
        options.precision,
        timeout_s=options.timeout,
        engines=options.engine_cache,
    )
    _print(report)
    return 0 if report.ok else 1


def _bench(options: argparse.Namespace) -> int:
    # A check does not pay for what only a bench needs.
    from edge_components.runtime.bench_command import run  # noqa: PLC0415  # see above

    try:
        return run(options)
    except SettingsError as exc:
        return _fail(str(exc), 2)
    except ActivationError as exc:
        return _fail(f"{exc.reason}: {exc.detail}", 1)


def _print(report: CheckReport) -> None:
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()


def _reason(exc: OSError) -> str:
    """Return what failed and why, and what to do where the user can do something."""
    text = exc.strerror or str(exc)
    if exc.filename is not None:
        text = f"'{exc.filename}': {text}"
    return f"{text}; {_HINTS[exc.errno]}" if exc.errno in _HINTS else text


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"edge-runtime: {message}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-runtime", description="Serve ONNX models on a device."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_serve(commands.add_parser("serve", help="answer inference requests"))
    _add_bench(commands.add_parser("bench", help="measure every variant on every provider here"))
    pipe.add_arguments(commands.add_parser("pipe", help="answer readings of standard input"))
    _add_check(commands.add_parser("check", help="run a version's golden set on this machine"))
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--version-dir", type=Path, help="the version to begin with")
    add("--precision", help="the variant to load, without a golden check")
    add("--model", type=Path, help="a plain ONNX file to serve instead")
    add("--name", help="the name of that model (model)")
    add("--models", type=Path, help="a folder of further models")
    add("--load", action="append", metavar="NAME", help="load one of them at start, * for all")
    add("--pipeline", dest="pipeline_file", type=Path, help="a pipeline to begin with (JSON)")
    add("--pipeline-config", type=Path, help="endpoints, commands and user steps (TOML)")
    add("--config", type=Path, help="the device's configuration file")
    add("--host", help="address to listen on (127.0.0.1)")
    add("--port", type=int, help="port to listen on, 0 for any (8080)")
    add("--grpc-port", type=int, help="port for gRPC too, 0 for any (no gRPC)")
    add("--tls-cert", type=Path, help="the server's certificate chain (PEM), for TLS")
    add("--tls-key", type=Path, help="its key (PEM, not encrypted)")
    add("--client-ca", type=Path, help="clients need a certificate of these authorities (PEM)")
    add("--token-file", type=Path, help="clients need the bearer token of this file")
    add("--control-socket", type=Path, help="path of the control socket")
    add("--hardware", help="hardware profile (x86-64-cpu)")
    add("--device", help="the device's id, for telemetry")
    add("--application", help="the application's name, for telemetry")
    add("--state-dir", type=Path, help="where the telemetry queue lives (.)")
    add("--engine-cache", type=Path, help="for what execution providers compile (STATE/engines)")
    add("--drain-s", type=float, help="longest graceful end (10)")
    add("--max-body-bytes", type=int, help="largest request body (64 MiB)")
    add("--max-connections", type=int, help="most connections at once (512)")
    add("--threads", type=int, help="threads of one run of a model (by hardware and model)")
    add("--parallel", type=int, help="requests for slow models that run at once (one a core)")
    add("--max-batch", type=int, help="requests that wait and may run together (8, 1 for none)")
    add("--parent-pipe", action="store_true", default=None, help="end of stdin: supervisor died")
    add("--orphan-grace", dest="orphan_grace_s", type=float, help="serve on so long after (60)")
    add("--telemetry-url", help="OTLP/HTTP logs endpoint")
    add("--telemetry-authorization", help="value of its Authorization header")
    add("--telemetry-ca", help="authorities to trust for it (PEM)")
    add("--telemetry-certificate", help="this device's client certificate for it (PEM)")
    add("--telemetry-key", help="its key (PEM)")
    add("--telemetry-max-bytes", type=int, help="budget of the queue on disk")
    add("--telemetry-ttl-s", type=float, help="records older than this are dropped")
    add("--telemetry-interval-s", type=float, help="seconds between batches")
    add("--telemetry-health-interval-s", type=float, help="seconds between health records")
    add("--drift-psi", type=float, help="threshold of the population stability index (0.25)")
    add("--drift-ks", type=float, help="threshold of the Kolmogorov-Smirnov distance (0.2)")
    add("--drift-window-rows", type=int, help="a window ends after so many sampled rows (1000)")
    add("--drift-window-s", type=float, help="or after so many seconds (300)")
    add("--drift-min-rows", type=int, help="if there are so many rows (30)")
    add("--drift-rate-per-s", type=float, help="requests that are sampled at most, 0 for none (20)")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("path", type=Path, nargs="?", help="a version's folder or a model file (what is active)")
    add("--config", type=Path, help="the device's configuration file: keep the report and send it")
    add("--hardware", help="hardware profile (the configuration's, or x86-64-cpu)")
    add("--golden", type=Path, help="a golden set for a model file")
    add("--provider", dest="providers", action="append", metavar="NAME", help="only this one")
    add("--seconds", type=float, default=2.0, help="how long each pair runs (2)")
    add("--timeout", type=float, default=600.0, help="seconds for one pair with loading (600)")
    add("--engine-cache", type=Path, help="keep there what execution providers compile")
    add(
        "--nice",
        type=int,
        choices=range(20),
        default=19,
        help="19 gives way to all, 0 to none (19)",
    )
    add("--no-send", action="store_true", help="do not send the report up")
    add("-o", "--output", choices=("text", "json"), default="text", help="form of the report")
    add("--precision", help=argparse.SUPPRESS)
    add("--in-process", type=int, help=argparse.SUPPRESS)


def _add_check(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("version_dir", type=Path, help="the version's folder")
    add("--hardware", required=True, help="hardware profile")
    add("--precision", help="check this variant only")
    add("--timeout", type=float, default=120.0, help="seconds for one variant (120)")
    add("--engine-cache", type=Path, help="keep there what execution providers compile")
    add("--in-process", action="store_true", help=argparse.SUPPRESS)


if __name__ == "__main__":
    sys.exit(main())
