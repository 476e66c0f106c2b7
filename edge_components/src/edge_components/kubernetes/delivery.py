"""Where a pod's release comes from: a folder that is mounted, or a registry."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from edge_components.apply.folder import Delivery
from edge_components.contract.errors import ContractError
from edge_components.kubernetes.prepare import Bring
from edge_components.update.executor import Interrupt

DELIVERY = "delivery"


def bringer(options: argparse.Namespace) -> Bring:
    """Return what finds or fetches the release's files, as the command line says.

    Raises:
        ContractError: ``bad-config``: neither a folder nor a registry is named, or both are.
    """
    folder: Path | None = getattr(options, "from")
    if (folder is None) == (not options.reference):
        raise ContractError("bad-config", "give either --from or --reference with --release-digest")
    if folder is not None:
        return lambda _interrupt: Delivery(folder=folder)
    if not options.release_digest:
        raise ContractError("bad-config", "--reference needs --release-digest")

    def fetch(interrupt: Interrupt) -> Delivery:
        return _fetch(options, interrupt)

    return fetch


def _fetch(options: argparse.Namespace, interrupt: Interrupt) -> Delivery:
    # Needs urllib3, which a pod with an image volume has no use for.
    from edge_components.oci import fetch_release  # noqa: PLC0415 - see above

    target: Path = options.state / DELIVERY
    shutil.rmtree(target, ignore_errors=True)
    fetch_release(options.reference, options.release_digest, target)
    return Delivery(folder=target)
