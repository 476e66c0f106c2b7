"""``python -m edgectl.emulation.registry``: a registry in a process of its own.

It prints ``ready HOST:PORT`` and serves until a signal, or until the end of standard input where
that was asked for.
"""

from __future__ import annotations

import argparse
import os
import signal
import ssl
import sys
import threading
from pathlib import Path

from edgectl.emulation.registry.access import Access, Passwords
from edgectl.emulation.registry.server import RegistryServer

PASSWORD_ENV = "EDGECTL_REGISTRY_PASSWORD"  # noqa: S105 - a variable's name


def main(arguments: list[str] | None = None) -> None:
    """Run the registry until it is told to end."""
    options = _parser().parse_args(arguments)
    server = RegistryServer(
        options.folder,
        host=options.host,
        port=options.port,
        tls=_tls(options.certificate, options.key),
        access=_access(options.user, os.environ.get(PASSWORD_ENV, ""), pull=options.anonymous),
        name=options.name,
        referrers_api=not options.no_referrers,
    )
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: told.set())
    if options.stop_on_eof:
        threading.Thread(target=_at_eof, args=(told,), daemon=True).start()
    with server:
        sys.stdout.write(f"ready {server.host}\n")
        sys.stdout.flush()
        told.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edgectl.emulation.registry",
        description="An OCI registry for emulators and tests.",
        epilog=f"The password of --user is taken from {PASSWORD_ENV}.",
    )
    parser.add_argument("folder", type=Path, help="where its content lies")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--name", default="", help="host name in its address")
    parser.add_argument("--certificate", type=Path, help="PEM chain; TLS with it")
    parser.add_argument("--key", type=Path, help="PEM key of the certificate")
    parser.add_argument("--user", default="", help="who may do everything; nobody else may push")
    parser.add_argument("--anonymous", action="store_true", help="everybody may pull")
    parser.add_argument("--no-referrers", action="store_true", help="as before OCI 1.1")
    parser.add_argument("--stop-on-eof", action="store_true", help="end with standard input")
    return parser


def _access(user: str, password: str, *, pull: bool) -> Access:
    if not user:
        return Access()
    anonymous = frozenset({"pull"} if pull else ())
    return Access(Passwords({user: password}), anonymous=anonymous)


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _at_eof(told: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    told.set()


if __name__ == "__main__":
    main()
