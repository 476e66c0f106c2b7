"""The steps before the switch: from a release's envelope to a whole version folder.

Everything is verified before it is used: the release before its package is looked for, the
package's signature before its files are fetched, each file's digest before it has a name.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection
from pathlib import Path

from edge_components.contract.digest import digest_hex
from edge_components.contract.hardware import HardwareProfile
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
from edge_components.store.blobs import WrongContentError
from edge_components.store.disk import DiskFullError
from edge_components.store.store import Store
from edge_components.store.versions import Documents
from edge_components.update import events
from edge_components.update.delta_shelf import StoreShelf
from edge_components.update.deltas import Deltas
from edge_components.update.errors import RefusedError
from edge_components.update.link import Link, Listener
from edge_components.update.ports import Source, Trust
from edge_components.update.selection import needed_layers, usable_precisions

_LOG = logging.getLogger(__name__)
_FETCHES = 3


class Preparation:
    """One update's way to a version folder; it carries the documents from step to step.

    Args:
        store: The device's store.
        trust: Who is believed.
        profile: This device's hardware.
        source: Where files come from.
        listener: Who hears what a download waits for.
    """

    def __init__(
        self,
        store: Store,
        trust: Trust,
        profile: HardwareProfile,
        source: Source | None,
        listener: Listener | None = None,
    ) -> None:
        self._store = store
        self._trust = trust
        self._profile = profile
        self._origin = source
        self._listener = listener
        self._deltas = None if source is None else Deltas(source, StoreShelf(store))
        self._envelope = b""
        self._manifest_bytes = b""
        self._signature = b""
        self._parsed: tuple[Manifest, PackageInfo] | None = None
        self._usable: tuple[str, ...] = ()
        self._together: tuple[str, ...] = ()

    def carry_out(self, command: events.Command, stop: threading.Event) -> events.Event:
        """Do one step.

        Raises:
            RefusedError: The step cannot succeed.
            ContractError: A document breaks the contract.
            DiskFullError: There is no room.
            CalledOffError: ``stop`` was set.
        """
        match command:
            case events.ObtainRelease():
                self._envelope = self._source.release(stop)
                return events.ReleaseVerified(release=self._trust.release(self._envelope))
            case events.ObtainPackage():
                return self._obtain_package(command.release, stop)
            case events.FetchLayers():
                network = command.release.settings.network
                self._source.keep_to(Link(network, listener=self._listener))
                self._fetch_layers(command.precision, stop)
                return events.Fetched(detail=self._fetching.report().text())
            case events.Stage():
                self._stage(command)
                return events.Staged()
        raise RefusedError(Reason.INTERNAL, f"{type(command).__name__} is no step of preparation")

    @property
    def _source(self) -> Source:
        if self._origin is None:
            raise RefusedError(Reason.INTERNAL, "there is no source for this step")
        return self._origin

    @property
    def _fetching(self) -> Deltas:
        if self._deltas is None:
            raise RefusedError(Reason.INTERNAL, "there is no source for this step")
        return self._deltas

    @property
    def _package(self) -> tuple[Manifest, PackageInfo]:
        if self._parsed is None:
            raise RefusedError(Reason.INTERNAL, "the package was not obtained in this run")
        return self._parsed

    def _obtain_package(
        self, release: ReleaseDocument, stop: threading.Event
    ) -> events.PackageVerified:
        self._manifest_bytes = self._source.manifest(release.package, stop)
        manifest = parse_manifest(self._manifest_bytes, digest=release.package)
        self._signature = self._source.signature(stop)
        self._trust.package(self._signature, manifest)
        description = layer_paths(manifest).get(PACKAGE_FILE)
        if description is None or description.size > MAX_DOCUMENT_BYTES:
            raise RefusedError(Reason.BAD_PACKAGE, f"the package has no usable '{PACKAGE_FILE}'")
        if kept := frozenset(version.package for version in self._store.record.kept()):
            self._fetching.look(manifest.layers, kept, stop)
        self._reserve([description], manifest)
        self._fetch(description, stop)
        data = self._store.blobs.path(description.digest).read_bytes()
        info = parse_package_info(data, manifest)
        precisions, why_not = usable_precisions(
            self._profile,
            manifest,
            info,
            release.settings.precision,
            self._store.measured(self._profile.name),
        )
        if not precisions:
            raise RefusedError(Reason.HARDWARE_MISMATCH, why_not)
        self._parsed, self._usable = (manifest, info), precisions
        return events.PackageVerified(application=info.application, precisions=precisions)

    @property
    def compares(self) -> bool:
        """Whether several variants were staged, to be compared on this machine."""
        return len(self._together) > 1

    def _fetch_layers(self, precision: str, stop: threading.Event) -> None:
        manifest, _info = self._package
        self._together = self._affordable(precision)
        try:
            layers = {d.digest: d for d in self._files().values()}
            self._reserve(layers.values(), manifest)
        except DiskFullError:
            if not self.compares:
                raise
            self._together = (precision,)  # there is room for one
            layers = {d.digest: d for d in self._files().values()}
            self._reserve(layers.values(), manifest)
        for layer in layers.values():
            self._fetch(layer, stop)

    def _reserve(self, layers: Collection[Descriptor], manifest: Manifest) -> None:
        """Make sure of room for these files and their deltas, or for the files alone."""
        fetching = self._fetching
        extra, every = fetching.needed(layers), fetching.needed(manifest.layers)
        try:
            self._store.reserve([*layers, *extra], wanted=[*manifest.layers, *every])
        except DiskFullError:
            if not extra:
                raise
            fetching.forget()
            self._store.reserve(layers, wanted=manifest.layers)

    def _affordable(self, precision: str) -> tuple[str, ...]:
        """Return the variants to fetch: all at the first attempt, if the site allows the bytes."""
        if not self._usable or precision != self._usable[0]:
            return (precision,)
        manifest, info = self._package
        first = needed_layers(manifest, info, precision)
        more = {
            path: layer.size
            for name in self._usable[1:]
            for path, layer in needed_layers(manifest, info, name).items()
            if path not in first
        }
        affordable = sum(more.values()) <= self._store.compare_bytes
        return self._usable if affordable else (precision,)

    def _files(self) -> dict[str, Descriptor]:
        manifest, info = self._package
        return {
            path: layer
            for name in self._together
            for path, layer in needed_layers(manifest, info, name).items()
        }

    def _fetch(self, layer: Descriptor, stop: threading.Event) -> None:
        blobs = self._store.blobs
        if blobs.has(layer.digest, layer.size):
            if _has_digest(blobs.path(layer.digest), layer.digest):
                self._fetching.traffic.kept += 1
                return
            _LOG.error("blob %s was damaged on the disk", layer.digest)
            blobs.discard(layer.digest)
        detail = ""
        for attempt in range(1, _FETCHES + 1):
            try:
                with blobs.partial(layer.digest, layer.size) as partial:
                    if partial.offset < layer.size:
                        self._fetching.fill(layer, partial, stop)
                    partial.finish()
            except WrongContentError as exc:
                detail = str(exc)
                _LOG.warning("attempt %d of %d: %s", attempt, _FETCHES, detail)
            else:
                return
        blobs.discard(layer.digest)
        raise RefusedError(Reason.DIGEST_MISMATCH, detail)

    def _stage(self, command: events.Stage) -> None:
        documents = Documents(
            release=self._envelope, manifest=self._manifest_bytes, signature=self._signature
        )
        self._store.stage(command.release.number, documents, self._files())


def _has_digest(path: Path, digest: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest_hex(digest)
