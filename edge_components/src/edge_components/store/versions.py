"""Version folders: ``versions/<release number>/`` as ``contract.device`` describes them.

A folder is built beside its place and gets its name when it is whole. Its package files are the
store's blobs, linked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edge_components.contract.device import (
    VERSION_MANIFEST,
    VERSION_PACKAGE,
    VERSION_RELEASE,
    VERSION_SIGNATURE,
)
from edge_components.contract.errors import ContractError
from edge_components.contract.package import (
    PACKAGE_FILE,
    Descriptor,
    Manifest,
    PackageInfo,
    check_path,
    parse_manifest,
    parse_package_info,
)
from edge_components.store.disk import TMP_SUFFIX, Disk
from edge_components.update.record import Installed
from edge_components.update.selection import needed_layers


class Documents(msgspec.Struct, frozen=True, kw_only=True):
    """The signed documents of a version, byte for byte."""

    release: bytes
    manifest: bytes
    signature: bytes


class Versions:
    """The folder of version folders."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root
        self._disk = disk
        root.mkdir(parents=True, exist_ok=True)

    def path(self, number: int) -> Path:
        """Return the folder of that release, which need not exist."""
        return self._root / str(number)

    def build(self, number: int, documents: Documents, files: Mapping[str, Path]) -> Path:
        """Build the folder of a release from its documents and its files.

        Args:
            number: The release; a folder of that number that stands here is replaced.
            documents: What was verified.
            files: Path in the package to the blob.

        Raises:
            DiskFullError: There is no room; nothing stays.
        """
        final = self.path(number)
        building = final.with_name(final.name + TMP_SUFFIX)
        for stale in (building, final):
            if stale.exists():
                self._disk.remove(stale)
        try:
            building.mkdir()
            self._disk.fill(building / VERSION_RELEASE, documents.release)
            self._disk.fill(building / VERSION_MANIFEST, documents.manifest)
            self._disk.fill(building / VERSION_SIGNATURE, documents.signature)
            package = building / VERSION_PACKAGE
            package.mkdir()
            for path, blob in files.items():
                target = package / check_path(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._disk.link(blob, target)
            self._sync_tree(package)
            self._disk.sync_folder(building)
        except BaseException:
            self._disk.remove(building)
            raise
        self._disk.rename(building, final)
        return final

    def layers(self, version: Installed) -> dict[str, Descriptor]:
        """Return the files that the version's folder must hold: path to descriptor.

        Raises:
            ContractError: Its manifest or its description cannot be read.
        """
        manifest, info = self._read(version)
        return needed_layers(manifest, info, version.precision)

    def is_whole(self, version: Installed) -> bool:
        """Return whether every file of the version is there with its size."""
        package = self.path(version.number) / VERSION_PACKAGE
        try:
            return all(
                (package / path).stat().st_size == layer.size
                for path, layer in self.layers(version).items()
            )
        except (ContractError, OSError):
            return False

    def collect(self, keep: set[int]) -> None:
        """Remove every folder but those of ``keep``."""
        names = {str(number) for number in keep}
        for path in sorted(self._root.iterdir()):
            if path.name not in names:
                self._disk.remove(path)

    def _read(self, version: Installed) -> tuple[Manifest, PackageInfo]:
        folder = self.path(version.number)
        try:
            manifest = parse_manifest(
                (folder / VERSION_MANIFEST).read_bytes(), digest=version.package
            )
            data = (folder / VERSION_PACKAGE / PACKAGE_FILE).read_bytes()
        except OSError as exc:
            raise ContractError("missing-file", f"'{exc.filename}' cannot be read") from exc
        return manifest, parse_package_info(data, manifest)

    def _sync_tree(self, package: Path) -> None:
        for folder, _names, _files in os.walk(package):
            self._disk.sync_folder(Path(folder))
