"""The index of an OCI layout as plain data: which manifests there are, and their tags.

Pure; ``store`` reads and writes the file. Entries that other tools wrote are kept as they are.
Sources: OCI image-spec 1.1, image-layout ("index.json file") and image-index; OCI
distribution-spec 1.1, "referrers tag schema".
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edge_components.contract.digest import check_digest, digest_hex
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.package import MANIFEST_TYPE
from edgectl.package.files import Content

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"
MAX_INDEX_BYTES = 8 << 20


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A descriptor in an index, with everything that another tool may have put there."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    artifact_type: str = ""
    platform: dict[str, Any] | None = None
    urls: tuple[str, ...] = ()
    data: str = ""

    @property
    def tag(self) -> str:
        """The entry's tag, or ""."""
        return self.annotations.get(REF_NAME, "")

    def tagged(self, name: str) -> Entry:
        """Return the entry with the tag ``name``, or with none for ""."""
        annotations = {key: value for key, value in self.annotations.items() if key != REF_NAME}
        if name:
            annotations[REF_NAME] = name
        return msgspec.structs.replace(self, annotations=annotations)


def entry_of(content: Content, kind: str) -> Entry:
    """Return the entry of a stored manifest of an artifact type."""
    return Entry(
        media_type=MANIFEST_TYPE, digest=content.digest, size=content.size, artifact_type=kind
    )


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An OCI image index: of a layout, or of the manifests that refer to another."""

    schema_version: Literal[2] = 2
    media_type: str = INDEX_TYPE
    manifests: tuple[Entry, ...] = ()
    annotations: dict[str, str] = {}

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return canonical_json(
            {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [], **plain}
        )

    def find(self, tag: str) -> Entry | None:
        """Return the entry with that tag, or None."""
        return next((entry for entry in self.manifests if entry.tag == tag), None)

    def with_entry(self, entry: Entry) -> Index:
        """Return the index with ``entry``, once.

        A tag moves: the manifest that had it before stays, without a tag.
        """
        entries = [
            old.tagged("") if entry.tag and old.tag == entry.tag else old for old in self.manifests
        ]
        entries.append(entry)
        named = {one.digest for one in entries if one.tag}
        unique = {
            (one.digest, one.tag): one for one in entries if one.tag or one.digest not in named
        }
        return msgspec.structs.replace(self, manifests=tuple(unique.values()))

    def without_untagged(self, digest: str) -> Index:
        """Return the index without entries of that digest that have no tag."""
        kept = tuple(one for one in self.manifests if one.tag or one.digest != digest)
        return msgspec.structs.replace(self, manifests=kept)


def parse_index(data: bytes, *, what: str) -> Index:
    """Read an index that may come from an attacker.

    Raises:
        ContractError: With a code that names the rule that was broken.
    """
    index = decode_json(data, Index, what=what, max_bytes=MAX_INDEX_BYTES)
    for entry in index.manifests:
        check_digest(entry.digest)
    return index


def referrers_tag(digest: str) -> str:
    """Return the tag under which registries without a referrers API keep what refers to a digest.

    Raises:
        ContractError: ``bad-digest``.
    """
    return "sha256-" + digest_hex(digest)
