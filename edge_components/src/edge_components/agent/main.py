"""The ``edge-agent`` command.

``run`` is for a device of its own; ``status`` and ``check-config`` tell of it, and ``import``
brings it a release from a file. ``serve`` and ``apply`` are for a device on which somebody else
starts programs and brings files, for example a Greengrass nucleus.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

import edge_components
from edge_components.agent.config import identity_of, load_config
from edge_components.agent.control import ControlClient, ControlError
from edge_components.agent.layout import layout_of
from edge_components.agent.reporting import device_report
from edge_components.agent.wiring import run
from edge_components.contract.errors import ContractError
from edge_components.contract.package import SIGNATURE_FILE
from edge_components.contract.release import MANIFEST_FILE, RELEASE_FILE
from edge_components.store.store import LOCK_FILE, StoreError, read_record


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    if arguments.command == "apply":
        return _known(lambda config: _apply(config, arguments), Path(arguments.config))
    if arguments.command == "import":
        return _known(lambda config: _import(config, arguments), Path(arguments.config))
    commands = {"run": run, "status": _status, "check-config": _check_config, "serve": _serve}
    return _known(commands[arguments.command], Path(arguments.config))


def _known(command: Callable[[Path], int], config: Path) -> int:
    try:
        return command(config)
    except (ContractError, StoreError) as exc:
        print(f"edge-agent: {exc}", file=sys.stderr)  # noqa: T201 - the command's own message
        return 1


def _status(config_path: Path) -> int:
    config, _profile = load_config(config_path)
    layout = layout_of(config)
    record = read_record(layout.store)
    try:
        runtime = ControlClient(layout.control_socket).status()
    except ControlError:
        runtime = None
    answering = 0 if runtime is None or not runtime.ready else runtime.release or 0
    _print(
        {
            "device": config.device.id,
            "agent_running": _is_locked(layout.store / LOCK_FILE),
            "report": device_report(record, identity_of(config), answering=answering),
            "record": record,
            "runtime": runtime,
        }
    )
    return 0


def _check_config(config_path: Path) -> int:
    # Only this command reads the keys itself; the running agent leaves that to a child.
    from edge_components.verify import load_publishers  # noqa: PLC0415 - see above

    config, profile = load_config(config_path)
    publishers = load_publishers(config.trust.publishers)
    _print(
        {
            "ok": True,
            "device": config.device.id,
            "application": config.device.application,
            "hardware": profile.name,
            "hub": config.hub.url if config.hub else None,
            "publishers": [publisher.hint for publisher in publishers],
        }
    )
    return 0


def _serve(config_path: Path) -> int:
    # Not for the idle agent, which is to stay small.
    from edge_components.apply.serving import serve  # noqa: PLC0415 - see above

    return serve(config_path)


def _apply(config_path: Path, arguments: argparse.Namespace) -> int:
    from edge_components.apply.command import apply  # noqa: PLC0415 - as in _serve
    from edge_components.apply.folder import Delivery  # noqa: PLC0415 - as in _serve

    delivery = Delivery(
        folder=Path(arguments.folder),
        release=arguments.release_file,
        manifest=arguments.manifest_file,
        signature=arguments.signature_file,
    )
    return apply(delivery, config_path)


def _import(config_path: Path, arguments: argparse.Namespace) -> int:
    from edge_components.agent.import_command import import_file  # noqa: PLC0415 - as in _serve

    return import_file(config_path, Path(arguments.file))


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _print(value: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    print(text)  # noqa: T201 - the command's result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="Keeps this device's model up to date and answering."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=edge_components.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "poll the hub, update, and keep the runtime running"),
        ("status", "print what this device would report, as JSON"),
        ("check-config", "check the configuration and print what it says, as JSON"),
        ("import", "take a release from a bundle, and print the device's report as JSON"),
        ("serve", "become the runtime, with the version that is in place"),
        ("apply", "take a delivered release to its end, and print the device's report as JSON"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", required=True, help="the device's configuration (TOML)")
        if name == "import":
            command.add_argument(
                "file", metavar="FILE", help="what `edgectl package --bundle` wrote"
            )
        if name == "apply":
            _add_delivery(command)
    return parser


def _add_delivery(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--from", dest="folder", required=True, help="folder with the files, by their sha256")
    add("--release-file", default=RELEASE_FILE, help=f"the release's file ({RELEASE_FILE})")
    add("--manifest-file", default=MANIFEST_FILE, help=f"the manifest's file ({MANIFEST_FILE})")
    add("--signature-file", default=SIGNATURE_FILE, help=f"the signature's file ({SIGNATURE_FILE})")


if __name__ == "__main__":
    sys.exit(main())
