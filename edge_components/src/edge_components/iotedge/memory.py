"""What the module remembers of its twin, so that a device that starts without a hub goes on.

Beside the updater's record, which knows what was done, stands what is wanted; and the release that
somebody at the device went back from, so that a restart does not bring it again.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.twin import DesiredRelease
from edge_components.store.disk import Disk, DiskFullError

_LOG = logging.getLogger(__name__)
WISH_FILE = "desired.json"
_MAX_BYTES = 16 << 10


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted.

    Attributes:
        desired: The release; None before the twin ever named one.
        left: Whether somebody went back from it by the direct method ``rollback``.
    """

    desired: DesiredRelease | None = None
    left: bool = False


def read_wish(folder: Path) -> Wish:
    """Return what was wanted last; nothing where that is not known."""
    try:
        data = (folder / WISH_FILE).read_bytes()
        return decode_json(data, Wish, what=f"'{WISH_FILE}'", max_bytes=_MAX_BYTES)
    except FileNotFoundError:
        return Wish()
    except (OSError, ContractError) as exc:
        _LOG.warning("what was wanted is not known: %s", exc)
        return Wish()


def write_wish(folder: Path, wish: Wish, disk: Disk) -> None:
    """Remember what is wanted; a full disk is no reason not to go on."""
    try:
        disk.write(folder / WISH_FILE, canonical_json(wish))
    except (DiskFullError, OSError) as exc:
        _LOG.warning("what is wanted cannot be remembered: %s", exc)
