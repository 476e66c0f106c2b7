"""The offline bundle: a release and its package in one file, for sites without a link.

It is a plain tar of an OCI image layout, so other tools read the package in it. The index lists
the package alone; two annotations of the index name the manifests of the package's signature and of
the release, both of which refer to the package. Nothing is compressed: a device reads each file
from where it lies in the tar.

Whoever reads one believes nothing of it. Only plain files with the names of a layout may stand in
it, each once and whole; what they hold is checked by digest and by the publisher's signatures.
Sources: POSIX ustar with GNU's form for sizes above 8 GiB (as ``tarfile`` writes and reads them);
OCI image-spec 1.1, image-layout and annotations of an image index.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable
from typing import Literal

import msgspec

from edge_components.contract.digest import check_digest, digest_hex, sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json
from edge_components.contract.package import (
    ARTIFACT_TYPE,
    MAX_LAYERS,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Manifest,
)

LAYOUT_FILE = "oci-layout"
LAYOUT_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
INDEX_FILE = "index.json"
BLOBS = "blobs/sha256/"
RELEASE_MARK = "edgectl.bundle.release"
SIGNATURE_MARK = "edgectl.bundle.signature"
END = bytes(2 * tarfile.BLOCKSIZE)
MAX_FILES = MAX_LAYERS + 16
_NAME = re.compile(rf"{LAYOUT_FILE}|{re.escape(INDEX_FILE)}|{BLOBS}[0-9a-f]{{64}}")


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Where a file lies in the tar, in bytes."""

    offset: int
    size: int


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds; every digest in it is still a claim.

    Attributes:
        files: Path in the layout to the place in the tar.
        package: Digest of the package's manifest.
        release: Digest of the manifest that holds the release's envelope.
        signature: Digest of the manifest that holds the package's signature, or "".
    """

    files: dict[str, Span]
    package: str
    release: str
    signature: str = ""

    def find(self, digest: str) -> Span | None:
        """Return where the file of that digest lies; None if the bundle does not hold it."""
        return self.files.get(blob_name(digest))


class _Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    schema_version: Literal[2]
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


def blob_name(digest: str) -> str:
    """Return the path of a file in the layout."""
    return BLOBS + digest_hex(digest)


def file_header(name: str, size: int) -> bytes:
    """Return what stands before a file in the tar; it depends on name and size alone."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Return what fills the last block of a file of ``size`` bytes."""
    return bytes(-size % tarfile.BLOCKSIZE)


def read_contents(read: Callable[[int, int], bytes], size: int) -> Contents:
    """Look at a bundle that may come from an attacker; only its small parts are read.

    Args:
        read: Gives at most so many bytes (second) from a place on (first).
        size: Bytes of the whole file.

    Raises:
        ContractError: ``bad-bundle`` if it is not one or is not whole; else the code of the rule
            that its index breaks.
    """
    files = _files(read, size)
    for name in (LAYOUT_FILE, INDEX_FILE):
        if name not in files:
            raise ContractError("bad-bundle", f"it holds no '{name}', so it is no bundle")
    layout = files[LAYOUT_FILE]
    if layout.size > 4096 or b'"1.0.0"' not in read(layout.offset, layout.size):
        raise ContractError("bad-bundle", "its layout has an unknown version")
    place = files[INDEX_FILE]
    if place.size > MAX_MANIFEST_BYTES:
        raise ContractError("bad-bundle", f"its index has {place.size} bytes")
    data = read(place.offset, place.size)
    index = decode_json(
        data, _Index, what="its index", max_bytes=MAX_MANIFEST_BYTES, unique_keys=True
    )
    packages = [one for one in index.manifests if one.artifact_type == ARTIFACT_TYPE]
    if len(packages) != 1:
        raise ContractError("bad-bundle", f"it holds {len(packages)} packages in place of one")
    if RELEASE_MARK not in index.annotations:
        raise ContractError(
            "bad-bundle", "it holds a package without a release: `edgectl package --bundle` adds it"
        )
    signature = index.annotations.get(SIGNATURE_MARK, "")
    return Contents(
        files=files,
        package=check_digest(packages[0].digest),
        release=check_digest(index.annotations[RELEASE_MARK]),
        signature=check_digest(signature) if signature else "",
    )


def attached(data: bytes, digest: str, kind: str, *, limit: int) -> Descriptor:
    """Return the one file that a manifest beside the package holds.

    Args:
        data: The manifest.
        digest: What it has to have.
        kind: The media type of the file.
        limit: Most bytes of the file.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    if sha256_digest(data) != digest:
        raise ContractError("digest-mismatch", f"a manifest's bytes do not have digest {digest}")
    manifest = decode_json(
        data, Manifest, what="a manifest", max_bytes=MAX_MANIFEST_BYTES, unique_keys=True
    )
    if [layer.media_type for layer in manifest.layers] != [kind]:
        raise ContractError("bad-bundle", f"the manifest {digest} does not hold one '{kind}'")
    (layer,) = manifest.layers
    check_digest(layer.digest)
    if not 0 < layer.size <= limit:
        raise ContractError("too-large", f"{layer.digest} says it has {layer.size} bytes")
    return layer


def _files(read: Callable[[int, int], bytes], size: int) -> dict[str, Span]:
    files: dict[str, Span] = {}
    place = 0
    while (block := read(place, tarfile.BLOCKSIZE)) != END[: tarfile.BLOCKSIZE]:
        if len(block) < tarfile.BLOCKSIZE:
            raise _cut_off(size) if files else _no_tar()
        name, length = _member(block)
        if name in files or len(files) == MAX_FILES:
            raise ContractError("bad-bundle", f"it holds '{name}' twice, or too many files")
        place += tarfile.BLOCKSIZE
        files[name] = Span(offset=place, size=length)
        place += length + -length % tarfile.BLOCKSIZE
        if place > size:
            raise _cut_off(size)
    if read(place, len(END)) != END:
        raise _cut_off(size)
    return files


def _member(block: bytes) -> tuple[str, int]:
    try:
        member = tarfile.TarInfo.frombuf(block, "ascii", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as exc:
        raise _no_tar() from exc
    if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or not _NAME.fullmatch(member.name):
        raise ContractError(
            "bad-bundle", f"it holds {member.name[:80]!r}, which does not belong in a bundle"
        )
    if member.size < 0:
        raise ContractError("bad-bundle", f"'{member.name}' says it has {member.size} bytes")
    return member.name, member.size


def _no_tar() -> ContractError:
    return ContractError("bad-bundle", "it is no tar as `edgectl package --bundle` writes it")


def _cut_off(size: int) -> ContractError:
    return ContractError("bad-bundle", f"it ends after {size} bytes, before it is whole")
