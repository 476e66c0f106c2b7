"""Putting a layer on a container image through the registry's API alone, without a container tool.

What the target has is asked first; what the base image's repository in the same registry has is
mounted, and only what is left is copied, one blob at a time. The result depends on the base and
the files alone, so doing it again sends nothing and gives the same digest.
Source: OCI distribution-spec 1.1, "Mounting a blob from another repository".
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import MANIFEST_TYPE, Descriptor
from edgectl.errors import RegistryError
from edgectl.package.download import Download
from edgectl.package.files import Content
from edgectl.package.imageform import (
    CONFIG_TYPE,
    MAX_CONFIG_BYTES,
    Change,
    Document,
    Image,
    blank_config,
    changed_config,
    changed_index,
    changed_manifest,
    is_index,
    parse_document,
    parse_image,
    platform_entries,
    platform_of,
)
from edgectl.package.index import INDEX_TYPE
from edgectl.package.layer import LAYER_TYPE, Files, write_layer
from edgectl.package.reference import Reference, check_tag, parse_reference
from edgectl.package.remote import Repository
from edgectl.package.store import Layout
from edgectl.package.transport import RetryPolicy, Transport
from edgectl.records import Record

SCRATCH = "scratch"
PLATFORMS = ("linux/amd64", "linux/arm64")
_Opener = Callable[[], BinaryIO]


class ImageLocation(Record, frozen=True, kw_only=True):
    """An image in a registry.

    Attributes:
        digest: Of its manifest, or of its index where it is for several platforms.
        uploaded_bytes: What really travelled from here; what was mounted did not.
    """

    digest: str
    uploaded_bytes: int


def image_digest(reference: str, *, policy: RetryPolicy | None = None) -> str:
    """Return the digest of the image that a reference names now.

    Raises:
        RegistryError: The registry has none, refused, or could not be reached.
    """
    place = parse_reference(reference)
    with contextlib.closing(Transport(place, policy=policy)) as transport:
        return sha256_digest(_fetch(Repository(transport, place.repository), place))


def append_layer(
    base: str,
    files: Files,
    target: str,
    *,
    environment: Mapping[str, str] | None = None,
    platforms: tuple[str, ...] = PLATFORMS,
    policy: RetryPolicy | None = None,
) -> ImageLocation:
    """Make an image of another one and a layer on top of it.

    Args:
        base: ``host[:port]/repository`` with a tag or digest, or ``scratch`` for nothing.
        files: Path in the image (without the leading slash) → content, or a folder.
        target: ``host[:port]/repository``, with a tag if it shall have one; a tag moves.
        environment: Variables that processes in the image get besides.
        platforms: What an image on ``scratch`` is for; one makes no index.
        policy: How often to try again.

    Raises:
        RegistryError: A registry refused, or could not be reached, or lacks the base image.
        PackageError: A file cannot be read or has no plain path, or the base is not an image.
    """
    place = parse_reference(target)
    source = place if base == SCRATCH else parse_reference(base)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgectl-layer-")))
        store = Layout.create(folder / "store")
        store.incoming.mkdir(exist_ok=True)
        layer = write_layer(files, store.incoming / "layer")
        store.adopt(store.incoming / "layer", layer.digest)
        reading = stack.enter_context(contextlib.closing(Transport(source, policy=policy)))
        writing = stack.enter_context(
            contextlib.closing(Transport(place, actions="pull,push", policy=policy))
        )
        work = _Work(store, source, reading, Repository(writing, place.repository), place)
        change = Change(layer=layer, environment=dict(environment or {}))
        made = work.blank(platforms, change) if base == SCRATCH else work.changed(change)
        digest = work.finish(made, check_tag(place.tag) if place.tag else "")
    return ImageLocation(digest=digest, uploaded_bytes=work.sent)


class _Made(Record, frozen=True, kw_only=True):
    """A manifest or index that is not stored yet."""

    data: bytes
    media_type: str


class _Work:
    """One image on its way; ``sent`` counts the bytes."""

    def __init__(
        self,
        store: Layout,
        source: Reference,
        reading: Transport,
        target: Repository,
        place: Reference,
    ) -> None:
        self.sent = 0
        self._store = store
        self._source = source
        self._base = Repository(reading, source.repository)
        self._download = Download(store, self._base, reading)
        self._target = target
        same_host = source.host == place.host and source.repository != place.repository
        self._mount_from = source.repository if same_host else ""

    def blank(self, platforms: tuple[str, ...], change: Change) -> _Made:
        """Return an image with nothing but the layer."""
        entries = []
        for platform in platforms:
            config = blank_config(platform)
            made = self._one(None, config, change, "the image")
            entries.append((made, platform_of(config)))
        if len(entries) == 1:
            return entries[0][0]
        listed = [self._entry({"platform": platform}, made) for made, platform in entries]
        return _Made(data=changed_index({}, listed), media_type=INDEX_TYPE)

    def changed(self, change: Change) -> _Made:
        """Return the base image with the layer, for each of its platforms."""
        what = f"the image '{self._source}'"
        document = parse_document(_fetch(self._base, self._source), what)
        if not is_index(document):
            return self._on_top(document, change, what)
        entries = []
        for entry in platform_entries(document, what):
            data = self._base.manifest(entry["digest"], images=True)
            if data is None:
                raise RegistryError(f"{what} lists '{entry['digest']}', which is not there")
            made = self._on_top(parse_document(data, what), change, what)
            entries.append(self._entry(entry, made))
        return _Made(data=changed_index(document, entries), media_type=INDEX_TYPE)

    def finish(self, made: _Made, tag: str) -> str:
        """Store the image's manifest under a tag or its digest, and return the digest."""
        digest = sha256_digest(made.data)
        if self._target.manifest_digest(tag or digest) != digest:
            self._target.put_manifest(tag or digest, made.data, media_type=made.media_type)
            self.sent += len(made.data)
        return digest

    def _entry(self, entry: Document, made: _Made) -> Document:
        """Return an index's entry for a manifest that is stored now."""
        digest = self.finish(made, "")
        new = {"mediaType": made.media_type, "digest": digest, "size": len(made.data)}
        return {**entry, **new}

    def _on_top(self, document: Document, change: Change, what: str) -> _Made:
        image = parse_image(document, what)
        data = self._base.small_blob(image.config.digest, image.config.size)
        if sha256_digest(data) != image.config.digest:
            raise RegistryError(f"the registry sent other content than '{image.config.digest}' has")
        config = parse_document(data, what, max_bytes=MAX_CONFIG_BYTES)
        for layer in image.layers:
            self._copy(layer)
        return self._one(image, config, change, what)

    def _one(self, image: Image | None, config: Document, change: Change, what: str) -> _Made:
        layer = Descriptor(
            media_type=LAYER_TYPE, digest=change.layer.digest, size=change.layer.size
        )
        self._put(layer, lambda: self._store.open_blob(layer.digest, size=layer.size))
        data = changed_config(config, change, what)
        stored = self._store.add_bytes(data)
        described = Descriptor(media_type=CONFIG_TYPE, digest=stored.digest, size=stored.size)
        self._put(described, lambda: self._store.open_blob(stored.digest, size=stored.size))
        content = Content(stored.digest, stored.size)
        manifest = changed_manifest(image, content, change)
        return _Made(data=manifest, media_type=MANIFEST_TYPE)

    def _copy(self, layer: Descriptor) -> None:
        """Bring a layer of the base to the target; it is fetched only if it must be sent."""

        def opened() -> BinaryIO:
            self._download.blobs((layer,))
            return self._store.open_blob(layer.digest, size=layer.size)

        self._put(layer, opened, mount_from=self._mount_from)
        self._store.blob_path(layer.digest).unlink(missing_ok=True)

    def _put(self, blob: Descriptor, opened: _Opener, *, mount_from: str = "") -> None:
        if self._target.has_blob(blob.digest):
            return
        if self._target.put_blob(blob.digest, blob.size, opened, mount_from=mount_from):
            self.sent += blob.size


def _fetch(repository: Repository, place: Reference) -> bytes:
    wanted = place.digest or place.tag
    if not wanted:
        raise RegistryError(f"the reference '{place}' has neither tag nor digest")
    data = repository.manifest(wanted, images=True)
    if data is None:
        raise RegistryError(
            f"the registry '{place.host}' has no image '{wanted}' in '{place.repository}'",
            hint="Check the image's name and the tag or digest.",
            vendor_code="MANIFEST_UNKNOWN",
        )
    return data
