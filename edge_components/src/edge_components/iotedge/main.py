"""The ``edge-module`` command: a module of Azure IoT Edge.

edgeAgent says by ``IOTEDGE_*`` who the module is; the device's own files say the rest.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import edge_components
from edge_components.contract.errors import ContractError
from edge_components.iotedge.methods import Journal
from edge_components.iotedge.wiring import Place, run
from edge_components.store.store import StoreError

CONFIG = "/etc/edgectl/device.toml"
AUTH = "/etc/edgectl/registry.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    journal = Journal()
    logging.getLogger().addHandler(journal)
    try:
        return run(_place(arguments), os.environ, journal)
    except (ContractError, StoreError) as exc:
        print(f"edge-module: {exc}", file=sys.stderr)  # noqa: T201 - the command's own message
        return 1
    finally:
        logging.getLogger().removeHandler(journal)


def _place(arguments: argparse.Namespace) -> Place:
    return Place(
        config=Path(arguments.config),
        registry_auth=Path(arguments.registry_auth),
        registry_ca=Path(arguments.registry_ca) if arguments.registry_ca else None,
        baked=Path(arguments.baked) if arguments.baked else None,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-module", description="Runs a model as a module of Azure IoT Edge."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=edge_components.__version__)
    for name, variable, default, text in (
        ("--config", "EDGECTL_CONFIG", CONFIG, "the device's configuration (TOML)"),
        ("--registry-auth", "EDGECTL_REGISTRY_AUTH", AUTH, "login for the registry, as docker's"),
        ("--registry-ca", "EDGECTL_REGISTRY_CA", "", "authorities of the registry (PEM)"),
        ("--baked", "EDGECTL_BAKED", "", "folder of the image with a release and its package"),
    ):
        usual = os.environ.get(variable, default)
        shown = f"; {variable}" + (f", else {default}" if default else "")
        parser.add_argument(name, default=usual, help=text + shown)
    return parser


if __name__ == "__main__":
    sys.exit(main())
