"""Where a pod's release comes from: a folder that is mounted, or a registry.

With a folder that the node keeps, files go through a cache that all its pods share, so that ten
pods fetch once and a node that is cut off has what it had. Without one they go straight into the
pod's own store, which then holds them once.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edge_components.apply.folder import Delivery, FolderSource
from edge_components.contract.device import PEM_MARK, DeviceConfig
from edge_components.contract.errors import ContractError
from edge_components.contract.signature import key_hint
from edge_components.update.executor import Interrupt
from edge_components.update.link import Listener
from edge_components.update.ports import Source

if TYPE_CHECKING:
    from edge_components.oci.http import Access

DELIVERY, CACHE = "delivery", "oci"

Bring = Callable[[DeviceConfig, Interrupt, ExitStack, Listener], Source]


def bringer(options: argparse.Namespace) -> Bring:
    """Return what finds or fetches the release's files, as the command line says.

    Raises:
        ContractError: ``bad-config``: neither a folder nor a registry is named, or both are.
    """
    folder: Path | None = getattr(options, "from")
    if (folder is None) == (not options.reference):
        raise ContractError("bad-config", "give either --from or --reference with --release-digest")
    if folder is not None:
        found = folder
        return lambda _config, _interrupt, _held, _listener: FolderSource(Delivery(folder=found))
    if not options.release_digest:
        raise ContractError("bad-config", "--reference needs --release-digest")
    fetch = _through_cache if options.node_cache else _straight
    return functools.partial(fetch, options)


def trusted_hints(config: DeviceConfig) -> frozenset[str]:
    """Return the names of the keys that this device trusts; a signature of theirs is looked for.

    Raises:
        ContractError: ``bad-config``: a key cannot be read.
    """
    hints = set()
    for key in config.trust.publishers:
        try:
            is_text = key.lstrip().startswith(PEM_MARK)
            hints.add(key_hint(key.encode() if is_text else Path(key).read_bytes()))
        except OSError as exc:
            raise ContractError("bad-config", f"'{key}' cannot be read: {exc.strerror}") from exc
    return frozenset(hints)


def _access(options: argparse.Namespace) -> Access:
    # Needs urllib3, which a pod with an image volume has no use for.
    from edge_components.oci.http import Access  # noqa: PLC0415 - see above

    return Access(auth_file=options.auth_file, ca_file=options.ca)


def _through_cache(
    options: argparse.Namespace,
    config: DeviceConfig,
    interrupt: Interrupt,
    held: ExitStack,
    listener: Listener,
) -> Source:
    del held
    from edge_components.oci import FetchSettings, fetch_release  # noqa: PLC0415 - as in _access

    delivery = fetch_release(
        options.reference,
        options.release_digest,
        options.state / DELIVERY,
        hardware=config.device.hardware,
        access=_access(options),
        hints=trusted_hints(config),
        settings=FetchSettings(
            cache=options.node_cache / CACHE,
            reserve_bytes=config.store.reserve_bytes,
            all_variants=True,
            listener=listener,
        ),
        stop=interrupt.either,
    )
    return FolderSource(delivery)


def _straight(
    options: argparse.Namespace,
    config: DeviceConfig,
    interrupt: Interrupt,
    held: ExitStack,
    listener: Listener,
) -> Source:
    del interrupt, listener  # the updater has what the release says of the network
    from edge_components.oci import OciSource, Wanted  # noqa: PLC0415 - as in _access
    from edge_components.oci.cache import Cache  # noqa: PLC0415 - as in _access
    from edge_components.oci.http import RegistryHttp  # noqa: PLC0415 - as in _access
    from edge_components.oci.reference import parse_repository  # noqa: PLC0415 - as in _access

    http = RegistryHttp(parse_repository(options.reference), _access(options))
    held.callback(http.close)
    wanted = Wanted(
        digest=options.release_digest, number=options.release, hints=trusted_hints(config)
    )
    return OciSource(http, wanted, Cache(options.state / CACHE))
