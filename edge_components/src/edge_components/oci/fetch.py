"""``fetch_release``: a release from a registry into a folder, in ``edge-agent apply``'s form.

What this hardware cannot use is not fetched. There is one cache for all processes of a machine;
the folder's files are links into it where the file system has links. A folder that is begun and
not finished is finished by the next call.
"""

from __future__ import annotations

import logging
import shutil
import threading
from contextlib import closing
from pathlib import Path

import msgspec

from edge_components.agent.download import DownloadPolicy
from edge_components.apply.folder import Delivery
from edge_components.contract.digest import check_digest, digest_hex
from edge_components.contract.errors import ContractError
from edge_components.contract.hardware import PROFILES, HardwareProfile
from edge_components.contract.package import (
    MAX_DOCUMENT_BYTES,
    PACKAGE_FILE,
    Descriptor,
    Manifest,
    PackageInfo,
    layer_paths,
    parse_manifest,
    parse_package_info,
)
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason
from edge_components.oci.cache import Cache, has_digest
from edge_components.oci.delta_shelf import CacheShelf
from edge_components.oci.documents import read_envelope
from edge_components.oci.http import Access, RegistryHttp
from edge_components.oci.reference import parse_repository
from edge_components.oci.source import OciSource, Wanted
from edge_components.store.disk import Disk, DiskFullError, is_full
from edge_components.update.deltas import Deltas
from edge_components.update.errors import RefusedError
from edge_components.update.link import Link, Listener
from edge_components.update.selection import needed_layers, usable_precisions

_LOG = logging.getLogger(__name__)


class FetchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a release is fetched.

    Attributes:
        cache: A folder that processes of this machine share; None keeps the files in the folder.
        cache_bytes: What the cache may hold afterwards; 0 for what the disk has.
        reserve_bytes: Free space that a fetch leaves on the disk.
        all_variants: Fetch every variant that this hardware can use, not only the best one: then
            a device whose best variant fails its golden check has another to try.
        policy: How patient a download is.
        listener: Who hears what a download waits for.
    """

    cache: Path | None = None
    cache_bytes: int = 0
    reserve_bytes: int = 16 << 20
    all_variants: bool = False
    policy: DownloadPolicy = DownloadPolicy()
    listener: Listener = Listener()


def fetch_release(
    reference: str,
    digest: str,
    folder: Path,
    *,
    hardware: str = "",
    access: Access | None = None,
    auth_file: Path | None = None,
    hints: frozenset[str] = frozenset(),
    settings: FetchSettings | None = None,
    stop: threading.Event | None = None,
) -> Delivery:
    """Fetch a release and the files of its package that this hardware needs.

    Nobody's signature is verified here: ``edge-agent apply`` does that with what it is given.

    Args:
        reference: ``host[:port]/repository``.
        digest: Digest of the release's manifest there.
        folder: Where the files go; it may hold what an earlier call left.
        hardware: Name of this device's profile; "" fetches every variant.
        access: How to speak to the registry.
        auth_file: Short for an ``access`` with nothing else.
        hints: Names of the publishers' keys that are trusted.
        settings: Cache and patience.
        stop: Ends it early.

    Raises:
        RefusedError: It cannot be had; with the reason that the device reports.
        CalledOffError: ``stop`` was set.
    """
    settings, stop = settings or FetchSettings(), stop or threading.Event()
    try:
        check_digest(digest)
        http = RegistryHttp(parse_repository(reference), access or Access(auth_file=auth_file))
        with closing(http):
            folder.mkdir(parents=True, exist_ok=True)
            cache = Cache(settings.cache or folder / ".cache")
            wanted = Wanted(digest=digest, hints=hints)
            source = OciSource(http, wanted, cache, settings.policy)
            return _Fetch(source, cache, folder, settings, stop).run(hardware)
    except ContractError as exc:
        mismatch = exc.code == "digest-mismatch"
        reason = Reason.DIGEST_MISMATCH if mismatch else Reason.BAD_PACKAGE
        raise RefusedError(reason, str(exc)) from exc
    except DiskFullError as exc:
        raise RefusedError(Reason.DISK_FULL, str(exc)) from exc
    except OSError as exc:
        reason = Reason.DISK_FULL if is_full(exc) else Reason.INTERNAL
        raise RefusedError(reason, str(exc)) from exc


class _Fetch:
    """One release on its way into a folder."""

    def __init__(
        self,
        source: OciSource,
        cache: Cache,
        folder: Path,
        settings: FetchSettings,
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._cache = cache
        self._folder = folder
        self._settings = settings
        self._stop = stop
        self._disk = Disk()
        self._network = Link()
        self._deltas = Deltas(source, CacheShelf(cache))

    def run(self, hardware: str) -> Delivery:
        envelope = self._source.release(self._stop)
        release = read_envelope(envelope)
        data = self._source.manifest(release.package, self._stop)
        manifest = parse_manifest(data, digest=release.package)
        signature = self._source.signature(self._stop)
        if self._settings.cache is not None:  # the files of earlier releases may be there
            self._deltas.look(manifest.layers, frozenset(), self._stop)
        layers = self._layers(manifest, release, _profile(hardware))
        self._reserve(layers)
        self._network = Link(release.settings.network, listener=self._settings.listener)
        self._source.keep_to(self._network)
        for layer in layers:
            self._link(layer)
        delivery = Delivery(folder=self._folder)
        self._disk.write(self._folder / delivery.manifest, data)
        self._disk.write(self._folder / delivery.signature, signature)
        # Last: a folder with a release in it is whole.
        self._disk.write(self._folder / delivery.release, envelope)
        _LOG.info("release %d: %s", release.number, self._deltas.report().text())
        if self._settings.cache is not None and self._settings.cache_bytes:
            self._cache.trim(self._settings.cache_bytes, {layer.digest for layer in layers})
        elif self._settings.cache is None:
            shutil.rmtree(self._folder / ".cache", ignore_errors=True)
        return delivery

    def _layers(
        self, manifest: Manifest, release: ReleaseDocument, profile: HardwareProfile | None
    ) -> list[Descriptor]:
        """Return the files to fetch, each once."""
        if profile is None:
            return list({layer.digest: layer for layer in manifest.layers}.values())
        info = self._info(manifest)
        usable, why_not = usable_precisions(profile, manifest, info, release.settings.precision)
        if not usable:
            raise RefusedError(Reason.HARDWARE_MISMATCH, why_not)
        chosen = usable if self._settings.all_variants else usable[:1]
        found = [d for name in chosen for d in needed_layers(manifest, info, name).values()]
        return list({layer.digest: layer for layer in found}.values())

    def _info(self, manifest: Manifest) -> PackageInfo:
        description = layer_paths(manifest).get(PACKAGE_FILE)
        if description is None or description.size > MAX_DOCUMENT_BYTES:
            raise RefusedError(Reason.BAD_PACKAGE, f"the package has no usable '{PACKAGE_FILE}'")
        return parse_package_info(self._obtain(description).read_bytes(), manifest)

    def _reserve(self, layers: list[Descriptor]) -> None:
        """Refuse before the first byte what has no room."""
        deltas = self._deltas.needed(layers)
        missing = sum(self._cache.missing_bytes(d.digest, d.size) for d in (*layers, *deltas))
        free = shutil.disk_usage(self._folder).free - self._settings.reserve_bytes
        if missing and missing > free and deltas:
            self._deltas.forget()
            self._reserve(layers)
        elif missing and missing > free:
            raise DiskFullError(
                f"the release needs {missing} bytes, {max(free, 0)} are free beside the reserve "
                f"of {self._settings.reserve_bytes}"
            )

    def _obtain(self, layer: Descriptor) -> Path:
        return self._cache.obtain(
            layer.digest,
            layer.size,
            lambda partial: self._deltas.fill(layer, partial, self._stop),
            self._stop,
        )

    def _link(self, layer: Descriptor) -> None:
        target = self._folder / digest_hex(layer.digest)
        if target.exists() and has_digest(target, layer.digest):
            return
        fresh = target.with_name(target.name + ".tmp")
        fresh.unlink(missing_ok=True)
        if self._cache.missing_bytes(layer.digest, layer.size):
            self._network.hold(self._stop)  # not with the file's lock, which others wait for
        self._disk.link(self._obtain(layer), fresh)
        self._disk.rename(fresh, target)


def _profile(hardware: str) -> HardwareProfile | None:
    if not hardware:
        return None
    profile = PROFILES.get(hardware)
    if profile is None:
        raise RefusedError(Reason.HARDWARE_MISMATCH, f"'{hardware}' is no hardware profile")
    return profile
