"""Keeps recipes and artifacts below the root folder, and watches over the disk.

``packages/artifacts/NAME/VERSION``, ``packages/artifacts-unarchived/…``, ``packages/recipes``,
``work/NAME`` and ``logs`` stand where the real nucleus has them. Before a download the space is
looked at twice, as there: the store's own limit, and 20 MB that have to stay free on the disk.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from edgectl_aws_greengrass.emulator.nucleus.cloud import CloudApi
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError
from edgectl_aws_greengrass.emulator.nucleus.recipe import Artifact, Recipe

MIN_FREE_BYTES = 20 << 20
_DISK_FILE = "disk-bytes"
_READ_BITS = {"NONE": 0o400, "OWNER": 0o440, "ALL": 0o444}
_EXECUTE_BITS = {"NONE": 0, "OWNER": 0o110, "ALL": 0o111}


class Store:
    """The packages folder.

    Args:
        root: The Greengrass root folder.
        max_bytes: What the packages together may take.
        disk_bytes: The size of a pretended disk that has only the root folder on it; None for
            the real disk, or what the file ``disk-bytes`` in the root folder says, so that a disk
            can become full while the device runs.
    """

    def __init__(self, root: Path, max_bytes: int, disk_bytes: int | None = None) -> None:
        self.root = root
        self._packages = root / "packages"
        self._max_bytes = max_bytes
        self._disk_bytes = disk_bytes

    def artifacts(self, name: str, version: str) -> Path:
        """Return the folder that ``{artifacts:path}`` stands for."""
        return self._packages / "artifacts" / name / version

    def unarchived(self, name: str, version: str) -> Path:
        """Return the folder that ``{artifacts:decompressedPath}`` stands for."""
        return self._packages / "artifacts-unarchived" / name / version

    def work(self, name: str) -> Path:
        """Return a component's work folder, made when it is not there."""
        found = self.root / "work" / name
        found.mkdir(parents=True, exist_ok=True)
        return found

    def log_file(self, name: str) -> Path:
        """Return a component's log file."""
        found = self.root / "logs" / f"{name}.log"
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    def fetch(self, recipe: Recipe, raw: bytes, api: CloudApi, check: Callable[[], None]) -> None:
        """Have a component's recipe and artifacts on the disk, verified.

        ``check`` is called between pieces, and raises to give up.

        Raises:
            DeploymentError: No space, a wrong digest, or S3 refuses.
            UnavailableError: The cloud cannot be reached now; what was fetched whole is kept.
        """
        try:
            self._keep_recipe(recipe, raw)
            for artifact in recipe.artifacts:
                check()
                self._fetch_one(recipe, artifact, api, check)
        except OSError as exc:
            raise DeploymentError(
                f"Failed to write an artifact of {recipe.name}: {exc.strerror}",
                "ARTIFACT_DOWNLOAD_ERROR",
                "IO_ERROR",
                "IO_WRITE_ERROR",
            ) from exc

    def clean(self, kept: Iterable[tuple[str, str]]) -> None:
        """Remove all versions of components but these."""
        wanted = set(kept)
        for kind in ("artifacts", "artifacts-unarchived"):
            for folder in (self._packages / kind).glob("*/*"):
                if (folder.parent.name, folder.name) not in wanted:
                    shutil.rmtree(folder, ignore_errors=True)
        names = {f"{name}-{version}.json" for name, version in wanted}
        for path in (self._packages / "recipes").glob("*.json"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _keep_recipe(self, recipe: Recipe, raw: bytes) -> None:
        folder = self._packages / "recipes"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{recipe.name}-{recipe.version}.json").write_bytes(raw)

    def _fetch_one(
        self, recipe: Recipe, artifact: Artifact, api: CloudApi, check: Callable[[], None]
    ) -> None:
        parts = urlsplit(artifact.uri)
        if parts.scheme != "s3":
            raise DeploymentError(
                f"Artifact scheme of '{artifact.uri}' is not served by this device",
                "ARTIFACT_DOWNLOAD_ERROR",
                "UNSUPPORTED_ARTIFACT_SCHEME",
            )
        path = self.artifacts(recipe.name, recipe.version) / artifact.name
        if not (path.exists() and _digest(path) == artifact.digest):
            bucket, key = parts.netloc, parts.path.lstrip("/")
            self._check_space(api.object_size(bucket, key))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._download(path, artifact, api.object_chunks(bucket, key), check)
        path.chmod(_READ_BITS[artifact.read] | _EXECUTE_BITS[artifact.execute] | 0o400)
        if artifact.unarchive:
            self._unpack(path, self.unarchived(recipe.name, recipe.version) / path.stem)

    def _download(
        self, path: Path, artifact: Artifact, chunks: Iterable[bytes], check: Callable[[], None]
    ) -> None:
        temporary = path.with_name(f"{path.name}.part")
        seen = hashlib.sha256()
        try:
            with temporary.open("wb") as stream:
                for chunk in chunks:
                    check()
                    seen.update(chunk)
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            if artifact.digest and base64.b64encode(seen.digest()).decode() != artifact.digest:
                raise DeploymentError(
                    f"Integrity check for downloaded artifact failed: {artifact.uri}",
                    "ARTIFACT_DOWNLOAD_ERROR",
                    "ARTIFACT_CHECKSUM_MISMATCH",
                )
            path.unlink(missing_ok=True)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _unpack(self, path: Path, folder: Path) -> None:
        if folder.exists():
            return
        temporary = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(temporary)
        temporary.replace(folder)

    def _check_space(self, needed: int) -> None:
        stored = _size(self._packages)
        if stored + needed > self._max_bytes:
            raise DeploymentError(
                f"Component store size limit reached: {stored} bytes existing, {needed} bytes"
                f" needed, {self._max_bytes} bytes maximum allowed total",
                "ARTIFACT_DOWNLOAD_ERROR",
                "DISK_SPACE_CRITICAL",
            )
        free = self._free()
        if free - needed < MIN_FREE_BYTES:
            raise DeploymentError(
                f"Disk space critical: {free} bytes usable, {needed} bytes needed,"
                f" {MIN_FREE_BYTES} bytes minimum allowed",
                "ARTIFACT_DOWNLOAD_ERROR",
                "DISK_SPACE_CRITICAL",
            )

    def _free(self) -> int:
        size = self._disk_bytes if self._disk_bytes is not None else _pretended(self.root)
        if size is None:
            return shutil.disk_usage(self.root).free
        return max(0, size - _size(self.root))


def _pretended(root: Path) -> int | None:
    try:
        return int((root / _DISK_FILE).read_text())
    except (OSError, ValueError):
        return None


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return total


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return base64.b64encode(hashlib.file_digest(stream, "sha256").digest()).decode()
