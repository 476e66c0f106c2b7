"""The verbs of one repository in a registry: is it there, get it, put it.

Everything that comes from the registry is bounded in size and compared with its digest before
anybody uses it. Source: OCI distribution-spec 1.1.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import quote, urljoin

import msgspec

from edge_components.contract.digest import sha256_digest
from edge_components.contract.jsonio import decode_json
from edge_components.contract.package import MANIFEST_TYPE, MAX_MANIFEST_BYTES
from edge_components.contract.signature import BUNDLE_TYPE
from edgectl.errors import RegistryError
from edgectl.package.failures import TransientError
from edgectl.package.files import contract_errors
from edgectl.package.index import INDEX_TYPE, Index, parse_index, referrers_tag
from edgectl.package.transport import Response, Transport

DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPT = f"{MANIFEST_TYPE}, {INDEX_TYPE}"
_ACCEPT_IMAGES = f"{_ACCEPT}, {DOCKER_MANIFEST_TYPE}, {DOCKER_INDEX_TYPE}"
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?')
_TAGS_PER_PAGE = 1000
_MAX_TAG_PAGES = 1000
_CHUNK_BYTES = 1 << 20


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Repository:
    """One repository of a registry.

    Args:
        transport: Speaks to the registry.
        name: The repository's name.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self._transport = transport
        self.name = name

    def manifest_digest(self, reference: str) -> str:
        """Return the digest of the manifest with that tag or digest, "" if there is none."""
        with self._transport.request(
            "HEAD",
            f"{self.name}/manifests/{reference}",
            headers={"Accept": _ACCEPT},
            accept=frozenset({200, 404}),
        ) as response:
            if response.status == 404:
                return ""
            return response.headers.get("Docker-Content-Digest", "") or (
                reference if reference.startswith("sha256:") else ""
            )

    def manifest(self, reference: str, *, images: bool = False) -> bytes | None:
        """Return the manifest with that tag or digest, or None if there is none.

        Args:
            reference: A tag or a digest.
            images: Take Docker's manifests too, for images that others built.

        Raises:
            RegistryError: It is too large, or is not what its digest says.
        """
        with self._transport.request(
            "GET",
            f"{self.name}/manifests/{reference}",
            headers={"Accept": _ACCEPT_IMAGES if images else _ACCEPT},
            accept=frozenset({200, 404}),
        ) as response:
            if response.status == 404:
                return None
            data = _read(response, MAX_MANIFEST_BYTES)
            stated = response.headers.get("Docker-Content-Digest", "")
        expected = reference if reference.startswith("sha256:") else stated
        if expected.startswith("sha256:") and sha256_digest(data) != expected:
            raise RegistryError(
                f"the registry sent other content than '{expected}' for '{self.name}:{reference}'",
                hint="Something between here and the registry changes what passes.",
            )
        return data

    def put_manifest(self, reference: str, data: bytes, *, media_type: str) -> bool:
        """Store a manifest under a tag or digest; say whether the registry listed its subject."""
        digest = sha256_digest(data)
        with self._transport.request(
            "PUT",
            f"{self.name}/manifests/{reference}",
            headers={"Content-Type": media_type},
            body=data,
            accept=frozenset({200, 201, 202}),
        ) as response:
            stored = response.headers.get("Docker-Content-Digest", digest)
            if stored != digest:
                raise RegistryError(f"the registry stored '{stored[:100]}' in place of '{digest}'")
            return bool(response.headers.get("OCI-Subject"))

    def has_blob(self, digest: str) -> bool:
        """Say whether the repository has a blob."""
        with self._transport.request(
            "HEAD", f"{self.name}/blobs/{digest}", accept=frozenset({200, 404})
        ) as response:
            return response.status == 200

    def put_blob(
        self,
        digest: str,
        size: int,
        content: Callable[[], BinaryIO],
        *,
        mount_from: str = "",
    ) -> bool:
        """Store a blob; say whether its bytes had to be sent.

        A broken upload is begun again in a session of its own: what a registry does with a second
        attempt in the same session differs.

        Args:
            digest: The blob's digest.
            size: Its size in bytes.
            content: Opens the blob, again for each attempt.
            mount_from: A repository of this registry that may have the blob, or "".
        """
        return self._transport.repeat(lambda: self._upload(digest, size, content, mount_from))

    def _upload(
        self, digest: str, size: int, content: Callable[[], BinaryIO], mount_from: str
    ) -> bool:
        location = self._mount(digest, mount_from) if mount_from else ""
        if location is None:
            return False
        location = location or self._begin_upload("")
        if not location:
            raise RegistryError(f"the registry gave no place to upload to in '{self.name}'")
        place = urljoin(self._transport.base, location)
        place += ("&" if "?" in place else "?") + f"digest={quote(digest)}"
        with self._transport.request(
            "PUT",
            place,
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            body=content,
            accept=frozenset({200, 201, 202, 204}),
            retry=False,
        ) as response:
            stored = response.headers.get("Docker-Content-Digest", digest)
        if stored != digest:
            raise RegistryError(f"the registry stored '{stored[:100]}' in place of '{digest}'")
        return True

    def _mount(self, digest: str, source: str) -> str | None:
        """Take a blob of another repository; else return where to upload to, or "" for unknown."""
        try:
            return self._begin_upload(f"?mount={quote(digest)}&from={quote(source, safe='')}")
        except TransientError:
            raise
        except RegistryError:
            return ""  # we may not read there, and sending the bytes needs no right to

    def _begin_upload(self, query: str) -> str | None:
        """Return where to upload to, None once mounted."""
        with self._transport.request(
            "POST",
            f"{self.name}/blobs/uploads/{query}",
            headers={"Content-Length": "0"},
            accept=frozenset({201, 202} if query else {202}),
        ) as response:
            return response.headers.get("Location", "") if response.status == 202 else None

    def tags(self) -> list[str]:
        """Return all tags, in the registry's order; none where there is no such repository.

        Raises:
            RegistryError: The registry's list cannot be read, or does not end.
        """
        place, found = f"{self.name}/tags/list?n={_TAGS_PER_PAGE}", list[str]()
        for _ in range(_MAX_TAG_PAGES):
            place = urljoin(self._transport.base, place)
            with self._transport.request("GET", place, accept=frozenset({200, 404})) as response:
                if response.status == 404:
                    return found
                page = _read(response, MAX_MANIFEST_BYTES)
                following = _NEXT.search(response.headers.get("Link", ""))
            with contract_errors(f"the registry's list of tags of '{self.name}'"):
                read = decode_json(page, _Tags, what="the list", max_bytes=MAX_MANIFEST_BYTES)
            found += read.tags or ()
            if following is None:
                return found
            place = urljoin(place, following[1])
        raise RegistryError(f"the registry's list of tags of '{self.name}' does not end")

    @contextlib.contextmanager
    def blob(self, digest: str, *, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a blob's content from byte ``start`` on; its digest is the caller's to check.

        Gives where the registry really began (``start`` or 0) and the parts from there.

        Raises:
            TransientError: The connection broke; what came before it is good to go on from.
            RegistryError: The blob is not there.
        """
        with self._transport.request(
            "GET",
            f"{self.name}/blobs/{digest}",
            headers={"Range": f"bytes={start}-"} if start else {},
            accept=frozenset({200, 206}),
            retry=False,
        ) as response:
            begin = _begin(response) if response.status == 206 else 0
            if begin not in {0, start}:
                raise RegistryError(f"the registry sent another part of '{digest}' than asked for")
            yield begin, response.stream(_CHUNK_BYTES, decode_content=False)

    def small_blob(self, digest: str, size: int) -> bytes:
        """Return a blob of that size whole, tried again as a request is; the caller checks it.

        Raises:
            RegistryError: It is not there, or is larger.
        """

        def once() -> bytes:
            with self.blob(digest, start=0) as (_begin, parts):
                data = bytearray()
                for part in parts:
                    data += part
                    if len(data) > size:
                        raise RegistryError(f"the registry sent more than {size} of '{digest}'")
            if len(data) < size:
                raise TransientError(f"the registry sent too little of '{digest}'")
            return bytes(data)

        return self._transport.repeat(once)

    def referrers(self, digest: str) -> tuple[Index, bool]:
        """Return what refers to a manifest, and whether the registry lists that by itself."""
        with self._transport.request(
            "GET",
            f"{self.name}/referrers/{digest}?artifactType={quote(BUNDLE_TYPE, safe='')}",
            headers={"Accept": INDEX_TYPE},
            accept=frozenset({200, 400, 404, 405}),
        ) as response:
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
            if response.status == 200 and kind == INDEX_TYPE:
                return _index(_read(response, MAX_MANIFEST_BYTES)), True
        return self.tagged_referrers(digest), False

    def tagged_referrers(self, digest: str) -> Index:
        """Return the list under the tag of the referrers tag schema; empty if there is none."""
        data = self.manifest(referrers_tag(digest))
        return _index(data) if data is not None else Index()


def _index(data: bytes) -> Index:
    with contract_errors("the registry's list of signatures"):
        return parse_index(data, what="the list")


def _begin(response: Response) -> int:
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _read(response: Response, max_bytes: int) -> bytes:
    data = response.read(max_bytes + 1, decode_content=False)
    if len(data) > max_bytes:
        raise RegistryError(f"the registry sent more than {max_bytes} bytes for a manifest")
    return data
