"""Container images as documents: what changes in them when a layer is put on top. Pure.

What we do not know in a manifest or configuration is kept. Docker's media types become OCI's, as
other tools do: the content behind them is the same.
Source: OCI image-spec 1.1, manifest, index and configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge_components.contract.digest import check_digest
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.package import MANIFEST_TYPE, MAX_MANIFEST_BYTES, Descriptor
from edgectl.errors import PackageError
from edgectl.package.files import Content, contract_errors
from edgectl.package.index import INDEX_TYPE
from edgectl.package.layer import LAYER_TYPE
from edgectl.package.remote import DOCKER_INDEX_TYPE, DOCKER_MANIFEST_TYPE

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MAX_CONFIG_BYTES = 4 << 20
_OCI_NAMES = {
    DOCKER_MANIFEST_TYPE: MANIFEST_TYPE,
    DOCKER_INDEX_TYPE: INDEX_TYPE,
    "application/vnd.docker.container.image.v1+json": CONFIG_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{LAYER_TYPE}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{LAYER_TYPE}+zstd",
}
_CREATED_BY = "edgectl"
Document = dict[str, Any]


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest, and the descriptors in it."""

    document: Document
    config: Descriptor
    layers: tuple[Descriptor, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is put on top of an image.

    Attributes:
        layer: The layer's digest and size; it is not compressed.
        environment: Variables that processes in the image get.
    """

    layer: Content
    environment: Mapping[str, str] = {}


def parse_document(data: bytes, what: str, *, max_bytes: int = MAX_MANIFEST_BYTES) -> Document:
    """Read a JSON object.

    Raises:
        PackageError: It is not one.
    """
    with contract_errors(what):
        found: Document = decode_json(
            data, dict[str, Any], what=what, max_bytes=max_bytes, unique_keys=True
        )
    return found


def is_index(document: Document) -> bool:
    """Say whether a manifest lists images of several platforms."""
    kind = document.get("mediaType", INDEX_TYPE if "manifests" in document else "")
    return kind in {INDEX_TYPE, DOCKER_INDEX_TYPE}


def parse_image(document: Document, what: str) -> Image:
    """Read the manifest of an image for one platform.

    Raises:
        PackageError: It is not one, or some of its layers are not in registries.
    """
    config = _descriptor(document.get("config"), what)
    listed = document.get("layers")
    if not isinstance(listed, list):
        raise PackageError(f"{what} is not an image")
    layers = tuple(_descriptor(one, what) for one in listed)
    known = {CONFIG_TYPE, *_OCI_NAMES.values()}
    for part in (config, *layers):
        if part.media_type not in known and not part.media_type.startswith(f"{LAYER_TYPE}+"):
            raise PackageError(f"{what} holds '{part.media_type[:80]}', which is not of an image")
    if config.size > MAX_CONFIG_BYTES:
        raise PackageError(f"{what} has a configuration of {config.size} bytes")
    return Image(document=document, config=config, layers=layers)


def platform_entries(index: Document, what: str) -> tuple[Document, ...]:
    """Return the entries of an index that are images for a platform.

    Attestations about images, which builders list beside them, are left out: they are about
    images without our layer.

    Raises:
        PackageError: There are none, or they cannot be read.
    """
    listed = index.get("manifests")
    entries = listed if isinstance(listed, list) else []
    images = []
    for entry in entries:
        _descriptor(entry, what)
        platform = entry.get("platform") or {}
        if platform.get("os", "unknown") != "unknown":
            images.append(entry)
    if not images:
        raise PackageError(f"{what} lists no image for any platform")
    return tuple(images)


def blank_config(platform: str) -> Document:
    """Return the configuration of an image that has nothing yet.

    Raises:
        PackageError: ``platform`` is not ``os/architecture[/variant]``.
    """
    names = platform.split("/")
    if not 2 <= len(names) <= 3 or not all(names):
        raise PackageError(f"'{platform}' is not a platform such as 'linux/arm64'")
    config: Document = {
        **dict(zip(("os", "architecture", "variant"), names, strict=False)),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return config


def changed_config(config: Document, change: Change, what: str) -> bytes:
    """Return an image's configuration with a layer more, as canonical bytes.

    Raises:
        PackageError: The configuration breaks the specification.
    """
    rootfs, settings = config.get("rootfs"), config.get("config") or {}
    history = config.get("history") or []
    if not isinstance(rootfs, dict) or not isinstance(rootfs.get("diff_ids"), list):
        raise PackageError(f"{what} has a configuration without layers")
    if not isinstance(settings, dict) or not isinstance(history, list):
        raise PackageError(f"{what} has a malformed configuration")
    changed = {
        **config,
        "rootfs": {**rootfs, "diff_ids": [*rootfs["diff_ids"], change.layer.digest]},
        "history": [*history, {"created_by": _CREATED_BY}],
    }
    if change.environment:
        changed["config"] = {**settings, "Env": _environment(settings, change.environment)}
    return canonical_json(changed)


def changed_manifest(image: Image | None, config: Content, change: Change) -> bytes:
    """Return an image's manifest with a layer more; None stands for an image with nothing."""
    before = image.document if image is not None else {}
    layers = image.layers if image is not None else ()
    named = [
        Descriptor(media_type=CONFIG_TYPE, digest=config.digest, size=config.size),
        *layers,
        Descriptor(media_type=LAYER_TYPE, digest=change.layer.digest, size=change.layer.size),
    ]
    plain = [msgspec.to_builtins(one) for one in named]
    return canonical_json(
        {
            **before,
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": plain[0],
            "layers": plain[1:],
        }
    )


def changed_index(index: Document, entries: list[Document]) -> bytes:
    """Return an index with these entries in place of its own."""
    return canonical_json(
        {**index, "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
    )


def platform_of(config: Document) -> dict[str, str]:
    """Return an index's way to say which platform a configuration is for."""
    names = ("architecture", "os", "variant")
    return {name: str(config[name]) for name in names if config.get(name)}


def _environment(settings: Document, added: Mapping[str, str]) -> list[str]:
    listed = settings.get("Env") or []
    kept = [one for one in listed if str(one).partition("=")[0] not in added]
    return [*kept, *(f"{name}={added[name]}" for name in sorted(added))]


def _descriptor(value: Any, what: str) -> Descriptor:
    with contract_errors(what):
        try:
            found = msgspec.convert(value, Descriptor)
        except msgspec.ValidationError as exc:
            raise PackageError(f"{what} cannot be read: {exc}") from exc
        check_digest(found.digest)
    if found.size < 0:
        raise PackageError(f"{what} says that a part has {found.size} bytes")
    kind = _OCI_NAMES.get(found.media_type, found.media_type)
    return msgspec.structs.replace(found, media_type=kind)
