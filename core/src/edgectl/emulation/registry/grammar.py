"""What names, tags and digests look like, and which route a path is. Pure.

Source: OCI distribution-spec 1.1, "Pulling manifests" and "Endpoints".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edgectl.emulation.registry.errors import RefusedError

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SESSION = re.compile(r"[0-9a-f]{32}")
_ROUTES = (
    ("upload", re.compile(r"(.*)/blobs/uploads/([^/]*)")),
    ("blob", re.compile(r"(.*)/blobs/([^/]+)")),
    ("manifest", re.compile(r"(.*)/manifests/([^/]+)")),
    ("referrers", re.compile(r"(.*)/referrers/([^/]+)")),
    ("tags", re.compile(r"(.*)/(tags/list)")),
)


class Route(NamedTuple):
    """What a path means: the kind of thing, the repository and the thing's name."""

    kind: str
    repository: str = ""
    name: str = ""


def parse_route(path: str) -> Route:
    """Read a path below ``/v2/``.

    Raises:
        RefusedError: There is no such route, or it names no repository.
    """
    if path in {"", "_catalog"}:
        return Route("catalog" if path else "base")
    for kind, pattern in _ROUTES:
        if match := pattern.fullmatch(path):
            return Route(kind, check_name(match[1]), match[2])
    raise RefusedError("NAME_UNKNOWN", f"'/v2/{path}' is no route of a registry")


def check_name(name: str) -> str:
    """Return a repository's name if it is one.

    Raises:
        RefusedError: ``NAME_INVALID``.
    """
    if len(name) > 255 or not _NAME.fullmatch(name):
        raise RefusedError("NAME_INVALID", f"'{name}' is not a repository's name")
    return name


def check_digest(digest: str) -> str:
    """Return a digest if it is one that this registry computes.

    Raises:
        RefusedError: ``DIGEST_INVALID``.
    """
    if not _DIGEST.fullmatch(digest):
        raise RefusedError("DIGEST_INVALID", f"'{digest}' is not a sha256 digest")
    return digest


def is_digest(reference: str) -> bool:
    """Say whether a manifest is asked for by digest; a tag has no colon."""
    return ":" in reference


def check_tag(tag: str) -> str:
    """Return a tag if it is one.

    Raises:
        RefusedError: ``TAG_INVALID``.
    """
    if not _TAG.fullmatch(tag):
        raise RefusedError("TAG_INVALID", f"'{tag}' is not a tag")
    return tag


def check_session(name: str) -> str:
    """Return an upload session's name if this registry makes such names.

    Raises:
        RefusedError: ``BLOB_UPLOAD_UNKNOWN``.
    """
    if not _SESSION.fullmatch(name):
        raise RefusedError("BLOB_UPLOAD_UNKNOWN", f"there is no upload '{name}'")
    return name


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last of a ``Range`` header.

    None means all of it: there is no header, or one of another unit or with several parts, which
    a server may ignore (RFC 9110, 14.2).

    Raises:
        RefusedError: ``RANGE_INVALID``.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    begin = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if begin >= end:
        raise RefusedError(
            "RANGE_INVALID",
            f"'{header}' is outside of {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return begin, end
