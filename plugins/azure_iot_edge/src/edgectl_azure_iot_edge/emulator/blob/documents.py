"""The XML documents of Blob storage: lists out, block lists in. Pure.

Source: "List Blobs", "List Containers", "Put Block List" and "Get Block List" of the Storage REST
reference.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from xml.sax.saxutils import escape

from edgectl_azure_iot_edge.emulator.blob.errors import BlobError
from edgectl_azure_iot_edge.emulator.blob.store import Blob

_HEAD = '<?xml version="1.0" encoding="utf-8"?>'
_BLOCK_LIST = re.compile(r"\s*(?:<\?xml[^>]*\?>)?\s*<BlockList>(.*)</BlockList>\s*", re.DOTALL)
_BLOCK = re.compile(r"\s*<(Latest|Committed|Uncommitted)>([A-Za-z0-9+/=]+)</\1>\s*")
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f￾￿]")


def blob_list(
    *,
    endpoint: str,
    container: str,
    query: dict[str, str],
    entries: list[Blob | str],
    following: str,
) -> bytes:
    """Return the answer to List Blobs.

    Args:
        endpoint: The account's address.
        container: The container.
        query: The request's parameters, which the answer repeats.
        entries: Blobs, and prefixes as texts.
        following: The next page's marker, or "".
    """
    told = "".join(
        f"<{name}>{_text(query[key])}</{name}>"
        for name, key in (
            ("Prefix", "prefix"),
            ("Marker", "marker"),
            ("MaxResults", "maxresults"),
            ("Delimiter", "delimiter"),
        )
        if query.get(key)
    )
    metadata = "metadata" in query.get("include", "").split(",")
    listed = "".join(
        f"<BlobPrefix><Name>{_text(one)}</Name></BlobPrefix>"
        if isinstance(one, str)
        else _blob(one, metadata=metadata)
        for one in entries
    )
    return (
        f'{_HEAD}<EnumerationResults ServiceEndpoint="{_text(endpoint)}" '
        f'ContainerName="{_text(container)}">{told}<Blobs>{listed}</Blobs>'
        f"<NextMarker>{_text(following)}</NextMarker></EnumerationResults>"
    ).encode()


def container_list(endpoint: str, names: list[str]) -> bytes:
    """Return the answer to List Containers."""
    listed = "".join(
        f"<Container><Name>{_text(name)}</Name><Properties/></Container>" for name in names
    )
    return (
        f'{_HEAD}<EnumerationResults ServiceEndpoint="{_text(endpoint)}">'
        f"<Containers>{listed}</Containers><NextMarker/></EnumerationResults>"
    ).encode()


def parse_block_list(body: bytes) -> list[str]:
    """Return the block ids of a Put Block List, in order.

    Raises:
        BlobError: ``InvalidXmlDocument``.
    """
    match = _BLOCK_LIST.fullmatch(body.decode("utf-8", "replace"))
    if match is None:
        raise BlobError("InvalidXmlDocument", "XML specified is not syntactically valid.")
    found, rest = [], match[1]
    while rest.strip():
        block = _BLOCK.match(rest)
        if block is None:
            raise BlobError("InvalidXmlDocument", "XML specified is not syntactically valid.")
        found.append(block[2])
        rest = rest[block.end() :]
    return found


def block_list(blocks: dict[str, bytes]) -> bytes:
    """Return the answer to Get Block List with the blocks that were not committed."""
    listed = "".join(
        f"<Block><Name>{name}</Name><Size>{len(data)}</Size></Block>"
        for name, data in blocks.items()
    )
    return (
        f"{_HEAD}<BlockList><CommittedBlocks/>"
        f"<UncommittedBlocks>{listed}</UncommittedBlocks></BlockList>"
    ).encode()


def _blob(blob: Blob, *, metadata: bool) -> str:
    properties = {
        "Creation-Time": formatdate(blob.created, usegmt=True),
        "Last-Modified": formatdate(blob.modified, usegmt=True),
        "Etag": blob.etag,
        "Content-Length": str(blob.size),
        "Content-Type": blob.content_type,
        "Content-Encoding": "",
        "Content-Language": "",
        "Content-MD5": blob.md5,
        "Cache-Control": "",
        "Content-Disposition": "",
        "BlobType": "BlockBlob",
        "AccessTier": "Hot",
        "AccessTierInferred": "true",
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
        "ServerEncrypted": "true",
    }
    told = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in properties.items())
    notes = ""
    if metadata and blob.metadata:
        inner = "".join(f"<{key}>{_text(value)}</{key}>" for key, value in blob.metadata.items())
        notes = f"<Metadata>{inner}</Metadata>"
    name = _text(blob.name)
    return f"<Blob><Name>{name}</Name><Properties>{told}</Properties>{notes}</Blob>"


def _text(value: str) -> str:
    return escape(_ILLEGAL.sub("�", value), {'"': "&quot;"})
