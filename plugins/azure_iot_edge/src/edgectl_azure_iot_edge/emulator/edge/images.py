"""The images on the device: pulled from their registry, kept by digest, unpacked once.

What a pull can come to is what Docker's own comes to: no such manifest, no right to it, no way to
the registry, no room. The device's disk may be made to seem smaller, its network cut and a pull
slow (:mod:`.faults`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import tarfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.pulling import Puller, PullError, Source, media_type
from edgectl_azure_iot_edge.emulator.edge.records import Credential
from edgectl_azure_iot_edge.emulator.edge.references import parse_reference

log = logging.getLogger(__name__)

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_DONE = ".done"


class Image(Record, frozen=True, kw_only=True):
    """An image that is on the device.

    Attributes:
        digest: Of its manifest, for this platform.
        image_id: Of its configuration: what the agent reports as ``imageHash``.
        layers: Digests, lowest first.
    """

    digest: str
    image_id: str
    layers: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    folder: str = ""
    user: str = ""


class Images:
    """The device's images.

    Args:
        folder: Takes blobs and unpacked images.
        puller: Talks to registries.
    """

    def __init__(self, folder: Path, puller: Puller, faults: FaultFile) -> None:
        self._blobs = folder / "blobs"
        self._unpacked = folder / "unpacked"
        for each in (self._blobs, self._unpacked):
            each.mkdir(parents=True, exist_ok=True)
        self._names = folder / "names.json"
        self._puller = puller
        self._faults = faults
        self._lock = threading.RLock()
        self._images = self._read_names()

    def get(self, name: str) -> Image | None:
        """Return an image that is there."""
        with self._lock:
            return self._images.get(name)

    def pull(self, name: str, credentials: Iterable[Credential], stop: threading.Event) -> Image:
        """Get an image, or what has changed of it.

        Raises:
            PullError: In Docker's words.
        """
        try:
            reference = parse_reference(name)
        except ValueError as exc:
            raise PullError(str(exc)) from exc
        if stop.wait(self._faults.now.pull_delay_s):
            raise PullError("context canceled")
        access = next((c for c in credentials if c.address == reference.host), None)
        source = self._puller.source(reference, access)
        manifest, digest = self._manifest(source.manifest(reference.wanted), source)
        blobs = [manifest["config"], *manifest.get("layers", ())]
        self._check_room(blobs)
        for blob in blobs:
            self._fetch(source, blob)
        image = self._image(digest, manifest)
        with self._lock:
            self._images[name] = image
            self._write_names()
        return image

    def unpack(self, image: Image) -> Path:
        """Return the folder with an image's files; made when it is not there.

        Raises:
            PullError: A layer is no archive, or there is no room.
        """
        folder = self._unpacked / image.image_id.removeprefix("sha256:")
        with self._lock:
            if (folder / _DONE).exists():
                return folder / "root"
            shutil.rmtree(folder, ignore_errors=True)
            root = folder / "root"
            root.mkdir(parents=True)
            try:
                for layer in image.layers:
                    _extract(self.blob(layer), root)
            except (tarfile.TarError, OSError) as exc:
                raise PullError(f"failed to register layer: {exc}") from exc
            (folder / _DONE).touch()
            return root

    def _manifest(self, content: tuple[bytes, str], source: Source) -> tuple[dict[str, Any], str]:
        body, digest = content
        document = json.loads(body)
        if media_type(document) not in _INDEX_TYPES:
            return document, digest
        machine = ARCHITECTURES.get(platform.machine(), platform.machine())
        for entry in document.get("manifests", ()):
            found = entry.get("platform") or {}
            if found.get("architecture") == machine and found.get("os", "linux") == "linux":
                body, digest = source.manifest(entry["digest"])
                return json.loads(body), digest
        raise PullError(f"no matching manifest for linux/{machine} in the manifest list entries")

    def _image(self, digest: str, manifest: Mapping[str, Any]) -> Image:
        image_id = manifest["config"]["digest"]
        document = json.loads(self.blob(image_id).read_bytes())
        config = document.get("config") or {}
        return Image(
            digest=digest,
            image_id=image_id,
            layers=tuple(layer["digest"] for layer in manifest.get("layers", ())),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            env=tuple(config.get("Env") or ()),
            folder=str(config.get("WorkingDir") or ""),
            user=str(config.get("User") or ""),
        )

    def _fetch(self, source: Source, blob: Mapping[str, Any]) -> None:
        path = self.blob(blob["digest"])
        if path.exists():
            return
        part = path.with_name(f"{path.name}.{threading.get_ident()}.part")
        seen = hashlib.sha256()
        try:
            with part.open("wb") as stream:
                for chunk in source.blob(blob["digest"]):
                    seen.update(chunk)
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            if f"sha256:{seen.hexdigest()}" != blob["digest"]:
                raise PullError(f"filesystem layer verification failed for digest {blob['digest']}")
            part.replace(path)
        except OSError as exc:
            raise PullError(f"write {path.name}: {exc.strerror}") from exc
        finally:
            part.unlink(missing_ok=True)

    def _check_room(self, blobs: list[Any]) -> None:
        needed = sum(
            int(blob.get("size", 0)) for blob in blobs if not self.blob(blob["digest"]).exists()
        )
        limit = self._faults.now.disk_bytes
        if limit is None:
            free = shutil.disk_usage(self._blobs).free
        else:
            free = limit - sum(file.stat().st_size for file in self._blobs.iterdir())
        if needed > free:
            raise PullError(f"write {self._blobs.name}: no space left on device")

    def blob(self, digest: str) -> Path:
        """Return where a blob is kept.

        Raises:
            PullError: It is no digest.
        """
        algorithm, _, name = digest.partition(":")
        if algorithm != "sha256" or not name.isalnum():
            raise PullError(f"invalid digest: '{digest}'")
        return self._blobs / name

    def _read_names(self) -> dict[str, Image]:
        try:
            found = msgspec.json.decode(self._names.read_bytes(), type=dict[str, Image])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}
        return {
            name: image
            for name, image in found.items()
            if all(self.blob(digest).exists() for digest in (image.image_id, *image.layers))
        }

    def _write_names(self) -> None:
        part = self._names.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(self._images))
        part.replace(self._names)


def _extract(archive: Path, root: Path) -> None:
    with tarfile.open(archive) as layer:
        for member in layer:
            name = Path(member.name)
            if name.name == ".wh..wh..opq":
                shutil.rmtree(root / name.parent, ignore_errors=True)
                (root / name.parent).mkdir(parents=True, exist_ok=True)
            elif name.name.startswith(".wh."):
                _remove(root / name.parent / name.name.removeprefix(".wh."))
            elif member.isdev():
                continue  # what a device file is for, the machine's own /dev has
            else:
                if not member.isdir():
                    _remove(root / name)
                # "tar" keeps everything below the root, which is all that matters here
                layer.extract(member, root, filter="tar", set_attrs=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
