"""What a registry checks of a manifest before it keeps it. Pure.

Source: OCI image-spec 1.1, manifest and image index; distribution-spec 1.1, "Pushing Manifests".
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from edgectl.emulation.registry.errors import RefusedError
from edgectl.emulation.registry.grammar import check_digest

MAX_MANIFEST_BYTES = 4 << 20
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER = "application/vnd.docker.distribution.manifest"
_MANIFESTS = frozenset({OCI_MANIFEST, f"{_DOCKER}.v2+json"})
_INDEXES = frozenset({OCI_INDEX, f"{_DOCKER}.list.v2+json"})


class Facts(NamedTuple):
    """What a registry needs to know of a manifest.

    Attributes:
        blobs: Digest → size of each blob that it names.
        manifests: The manifests that an index names.
        subject: The digest of what it refers to, or "".
        artifact_type: For the list of referrers.
    """

    media_type: str
    blobs: dict[str, int]
    manifests: tuple[str, ...]
    subject: str
    artifact_type: str
    annotations: dict[str, str]


def read_manifest(data: bytes, content_type: str) -> Facts:
    """Check a manifest and say what it names.

    Raises:
        RefusedError: ``MANIFEST_INVALID`` or ``DIGEST_INVALID``.
    """
    media_type = content_type.partition(";")[0].strip()
    if media_type not in _MANIFESTS | _INDEXES:
        raise _invalid(f"'{content_type}' is not a manifest's media type")
    document = _load(data)
    if document.get("schemaVersion") != 2:
        raise _invalid("schemaVersion is not 2")
    stated = document.get("mediaType", media_type)
    if stated != media_type:
        raise _invalid(f"mediaType is '{stated}', Content-Type is '{media_type}'")
    blobs, manifests = _named(document, media_type)
    subject = document.get("subject")
    config = document.get("config", {})
    return Facts(
        media_type=media_type,
        blobs=blobs,
        manifests=manifests,
        subject="" if subject is None else _descriptor(subject, "subject")[0],
        artifact_type=_text(document.get("artifactType", config.get("mediaType", ""))),
        annotations=_annotations(document.get("annotations", {})),
    )


def _load(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise _invalid(f"it is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise _invalid("it is not a JSON object")
    return document


def _named(document: dict[str, Any], media_type: str) -> tuple[dict[str, int], tuple[str, ...]]:
    if media_type in _INDEXES:
        if "config" in document or "layers" in document:
            raise _invalid("an index has neither config nor layers")
        entries = _list(document, "manifests")
        return {}, tuple(_descriptor(one, "manifests")[0] for one in entries)
    if "manifests" in document:
        raise _invalid("an image manifest has no manifests")
    parts = [_descriptor(document.get("config"), "config")]
    parts += [_descriptor(one, "layers") for one in _list(document, "layers")]
    return dict(parts), ()


def _list(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise _invalid(f"{key} is not a list")
    return value


def _descriptor(value: Any, where: str) -> tuple[str, int]:
    if not isinstance(value, dict):
        raise _invalid(f"{where} is not a descriptor")
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not isinstance(value.get("mediaType"), str):
        raise _invalid(f"{where} has no digest or mediaType")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise _invalid(f"{where} has no size")
    return check_digest(digest), size


def _annotations(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise _invalid("annotations are not a map of strings")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _invalid("artifactType is not a string")
    return value


def _invalid(message: str) -> RefusedError:
    return RefusedError("MANIFEST_INVALID", message)
