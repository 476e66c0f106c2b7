"""The ``edge-pod`` command: ``prepare`` in an init container, ``serve`` in the container.

Every option can be given by a variable, so that a manifest can take it from the downward API:
``EDGE_POD_DEVICE`` from ``spec.nodeName`` and ``EDGE_POD_HOST`` from ``status.podIP``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import edge_components
from edge_components.contract.errors import ContractError
from edge_components.kubernetes.pod import CONFIG_PATH, STATE_DIR, Place
from edge_components.kubernetes.termination import TERMINATION_LOG
from edge_components.store.store import StoreError

PREFIX = "EDGE_POD_"


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command line; return the exit code: 1 for a known error, 2 for wrong usage.

    ``prepare`` ends with 0 when the release stands, 10 when it is refused, 12 when a further try
    may succeed.
    """
    options = _parser(environ).parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    commands = {"prepare": _prepare, "serve": _serve}
    try:
        return commands[options.command](options)
    except (ContractError, StoreError, OSError) as exc:
        return _fail(str(exc))


def _prepare(options: argparse.Namespace) -> int:
    # Serving does not pay for what only preparing needs.
    from edge_components.kubernetes.delivery import bringer  # noqa: PLC0415 - see above
    from edge_components.kubernetes.expected import Expected  # noqa: PLC0415 - see above
    from edge_components.kubernetes.prepare import Order, prepare  # noqa: PLC0415 - see above

    order = Order(
        place=_place(options),
        expected=Expected(release=options.release, package=options.package),
        node_cache=options.node_cache,
        termination_log=options.termination_log,
    )
    return prepare(order, bringer(options))


def _serve(options: argparse.Namespace) -> int:
    from edge_components.kubernetes.serving import serve  # noqa: PLC0415 - as in _prepare
    from edge_components.runtime.settings import SettingsError  # noqa: PLC0415 - as in _prepare
    from edge_components.runtime.version import ActivationError  # noqa: PLC0415 - as in _prepare

    try:
        return serve(_place(options), drain_s=options.drain_s)
    except (SettingsError, ActivationError) as exc:
        return _fail(str(exc))


def _place(options: argparse.Namespace) -> Place:
    return Place(
        config=options.config, state=options.state, device=options.device, host=options.host
    )


def _fail(message: str) -> int:
    sys.stderr.write(f"edge-pod: {message}\n")
    return 1


class _Options:
    """Adds options whose defaults come from the environment."""

    def __init__(self, parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
        self._parser = parser
        self._environ = environ

    def add(self, name: str, default: object, text: str, kind: type = str) -> None:
        variable = PREFIX + name.upper().replace("-", "_")
        given = self._environ.get(variable)
        shown = f" ({default})" if default not in (None, "", 0) else ""
        self._parser.add_argument(
            f"--{name}",
            type=kind,
            default=default if given in (None, "") else given,
            help=f"{text}{shown}; or {variable}",
        )


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-pod", description="Runs one release of a model in a Kubernetes pod."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=edge_components.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    text = "verify a release, run its golden set here, and leave it for serve"
    _add_prepare(commands.add_parser("prepare", help=text, description=text), environ)
    text = "answer inference requests with what prepare left"
    serve = commands.add_parser("serve", help=text, description=text)
    _add_place(serve, environ)
    _Options(serve, environ).add("drain-s", 10.0, "longest graceful end in seconds", float)
    return parser


def _add_place(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    add = _Options(parser, environ).add
    add("config", CONFIG_PATH, "the configuration that all pods of a release share", Path)
    add("state", STATE_DIR, "the pod's own folder", Path)
    add("device", "", "the device's id, for example the node's name")
    add("host", "", "the address to listen on, for example the pod's")


def _add_prepare(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    _add_place(parser, environ)
    add = _Options(parser, environ).add
    add("from", None, "a folder with release, manifest, signature and files by sha256", Path)
    add("reference", "", "a registry's repository to fetch from instead: host/name")
    add("release-digest", "", "the digest of the release there")
    add("auth-file", None, "credentials for the registry (config.json of a registry login)", Path)
    add("ca", None, "authorities to trust for the registry (PEM)", Path)
    add("node-cache", None, "a folder that the pods of this node share", Path)
    add("release", 0, "the release's number that the pod is for", int)
    add("package", "", "the digest of the package that the pod is for")
    add("termination-log", TERMINATION_LOG, "where the report is left for the kubelet", Path)


if __name__ == "__main__":
    sys.exit(main())
