"""Reading a package as if an attacker had written it.

What is refused: content that does not match its digest or its declared size, paths that leave the
folder, links and special files in the store, media types that we do not know (so every archive
and every compression: nothing is ever unpacked), too many layers, huge or deeply nested JSON,
repeated keys or paths. Nothing is written outside the destination, and a destination that could
not be finished is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json
from edge_components.contract.package import (
    MAX_DOCUMENT_BYTES,
    PACKAGE_FILE,
    SIGNATURE_FILE,
    Descriptor,
    Manifest,
    PackageInfo,
    layer_paths,
    parse_package_info,
    parse_pipeline,
)
from edge_components.contract.pipeline import Pipeline
from edgectl.errors import PackageError, SignatureError
from edgectl.package.files import (
    contract_errors,
    copy_hashed,
    create_exclusively,
    sync_folder,
    write_all,
)
from edgectl.package.referrers import find_signatures
from edgectl.package.sign import package_files, verify_bundle
from edgectl.package.store import Layout
from edgectl.records import Record


class OpenedPackage(Record, frozen=True, kw_only=True):
    """A package whose manifest and documents keep every rule.

    Attributes:
        verified: A publisher of those that were given signed it.
        signed_by: The hint of that publisher's key, or "".
        signature: The Sigstore bundle that verified; without publishers the first one that is
            there, or None.
    """

    digest: str
    manifest: Manifest
    info: PackageInfo
    pipeline: Pipeline | None
    verified: bool
    signed_by: str
    signature: bytes | None


class _ModelFs(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    diff_ids: tuple[str, ...]


class _Config(msgspec.Struct, frozen=True):
    modelfs: _ModelFs
    descriptor: dict[str, Any]
    config: dict[str, Any]


def open_package(layout: Path, digest: str, *, publishers: tuple[str, ...] | None) -> OpenedPackage:
    """Read what a package is, and who vouches for it.

    The weights are looked at (there, a plain file, of the declared size) but not read;
    ``verify_layout_package`` reads them.

    Args:
        layout: The layout's folder.
        digest: The package's digest.
        publishers: PEM public keys of which one has to have signed; None asks for no signature.

    Raises:
        SignatureError: No trusted publisher signed it.
        PackageError: It breaks another rule.
    """
    store = Layout.open(layout)
    manifest = store.read_manifest(digest)
    name = f"the package '{digest}'"
    with contract_errors(name):
        _check_config(_document(store, manifest.config), manifest)
        paths = layer_paths(manifest)
        if PACKAGE_FILE not in paths:
            raise PackageError(f"{name} has no {PACKAGE_FILE}, so edgectl did not make it")
        info = parse_package_info(_document(store, paths[PACKAGE_FILE]), manifest)
        pipeline = parse_pipeline(_document(store, paths[info.pipeline])) if info.pipeline else None
    for layer in manifest.layers:
        store.open_blob(layer.digest, size=layer.size).close()
    signature, signed_by = _signature(store, digest, manifest, publishers)
    return OpenedPackage(
        digest=digest,
        manifest=manifest,
        info=info,
        pipeline=pipeline,
        verified=bool(signed_by),
        signed_by=signed_by,
        signature=signature,
    )


def verify_layout_package(
    layout: Path, digest: str, *, publishers: tuple[str, ...] | None
) -> OpenedPackage:
    """Open a package and check every byte of it.

    Raises:
        SignatureError: No trusted publisher signed it.
        PackageError: It breaks another rule, or a file's content was changed.
    """
    opened = open_package(layout, digest, publishers=publishers)
    store = Layout.open(layout)
    for path, layer in layer_paths(opened.manifest).items():
        if not store.intact(layer.digest, layer.size):
            raise PackageError(f"the content of '{path}' in the package '{digest}' was changed")
    return opened


def export_folder(
    layout: Path,
    digest: str,
    dest: Path,
    *,
    publishers: tuple[str, ...] | None = None,
) -> OpenedPackage:
    """Write a package's files into a folder of their own, each at its path.

    The signature, where there is one, becomes ``model.sig`` in the same folder, so that
    ``model_signing verify key DEST --signature DEST/model.sig --public_key KEY.pub`` accepts it.
    Every byte is checked on its way.

    Args:
        layout: The layout's folder.
        digest: The package's digest.
        dest: A folder that is new or empty; it is removed again if the export fails.
        publishers: See ``open_package``.

    Raises:
        SignatureError: No trusted publisher signed it.
        PackageError: It breaks another rule, or ``dest`` is not empty.
    """
    opened = open_package(layout, digest, publishers=publishers)
    store = Layout.open(layout)
    with _new_folder(dest):
        for path, layer in layer_paths(opened.manifest).items():
            _export_file(store, layer, dest / path)
        if opened.signature is not None:
            with create_exclusively(dest / SIGNATURE_FILE) as file:
                write_all(file)(memoryview(opened.signature))
                os.fsync(file.fileno())
        sync_folder(dest)
    return opened


def _signature(
    store: Layout, digest: str, manifest: Manifest, publishers: tuple[str, ...] | None
) -> tuple[bytes | None, str]:
    bundles = list(find_signatures(store, digest))
    if publishers is None:
        return (bundles[0] if bundles else None), ""
    if not bundles:
        raise SignatureError(
            f"the package '{digest}' is not signed",
            hint="Sign it with the publisher's key, or fetch its signature too.",
        )
    refusal = SignatureError(f"the package '{digest}' is not signed by a trusted publisher")
    for bundle in bundles:
        try:
            return bundle, verify_bundle(bundle, package_files(manifest), publishers)
        except PackageError as exc:
            refusal = exc if isinstance(exc, SignatureError) else refusal
    raise refusal


def _document(store: Layout, descriptor: Descriptor) -> bytes:
    if descriptor.size > MAX_DOCUMENT_BYTES:
        raise ContractError("too-large", f"a document of {descriptor.size} bytes is too large")
    data = store.read(descriptor.digest, max_bytes=descriptor.size)
    if len(data) != descriptor.size:
        raise ContractError("bad-size", f"a document has {len(data)} bytes, not {descriptor.size}")
    # Repeated keys are refused in what has no type of its own too: two readers could understand
    # them in two ways.
    decode_json(
        data,
        dict[str, msgspec.Raw],
        what="a document",
        max_bytes=MAX_DOCUMENT_BYTES,
        unique_keys=True,
    )
    return data


def _check_config(data: bytes, manifest: Manifest) -> None:
    config = decode_json(data, _Config, what="the configuration", max_bytes=MAX_DOCUMENT_BYTES)
    if config.modelfs.diff_ids != tuple(layer.digest for layer in manifest.layers):
        raise ContractError("bad-config", "the configuration lists other files than the manifest")


def _export_file(store: Layout, layer: Descriptor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.open_blob(layer.digest, size=layer.size) as source, create_exclusively(path) as file:
        content = copy_hashed(source, write_all(file), limit=layer.size)
        os.fsync(file.fileno())
    if content != (layer.digest, layer.size):
        raise PackageError(f"the content of the blob '{layer.digest}' was changed")


@contextlib.contextmanager
def _new_folder(dest: Path) -> Iterator[None]:
    """Make ``dest`` or take it if it is empty; empty it again if the body fails."""
    try:
        made = not dest.exists()
        if dest.is_symlink() or (not made and (not dest.is_dir() or any(dest.iterdir()))):
            raise PackageError(f"'{dest}' is not an empty folder")
        dest.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise PackageError(f"'{dest}' cannot be written: {exc.strerror}") from exc
    try:
        yield
    except BaseException as exc:
        _empty(dest)
        if made:
            dest.rmdir()
        if isinstance(exc, OSError):
            raise PackageError(f"'{dest}' cannot be written: {exc.strerror}") from exc
        raise


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
