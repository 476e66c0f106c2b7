"""The operations of Blob storage that are served; everything else is refused by name.

Source: the Blob service REST reference. One account, addressed in the path, as storage emulators
do: ``https://localhost:PORT/ACCOUNT/CONTAINER/BLOB``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from email.utils import formatdate
from typing import NamedTuple

from werkzeug.wrappers import Response

from edgectl_azure_iot_edge.emulator.blob import documents
from edgectl_azure_iot_edge.emulator.blob.errors import BlobError
from edgectl_azure_iot_edge.emulator.blob.store import Blob, Store

MAX_RESULTS = 5000
MAX_BLOB_BYTES = 5000 << 20
_CONTAINER = re.compile(r"\$root|(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_METADATA = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Call(NamedTuple):
    """A request whose caller was checked.

    Attributes:
        headers: Names in lower case.
        endpoint: The account's address, as lists repeat it.
    """

    method: str
    container: str
    blob: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    endpoint: str


# (operation, permissions of a SAS of which one is enough, data action of a role)
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
OPERATIONS: dict[tuple[str, str, str], tuple[str, str, str]] = {
    ("GET", "blob", ""): ("GetBlob", "r", f"{_BLOBS}/read"),
    ("HEAD", "blob", ""): ("GetBlobProperties", "r", f"{_BLOBS}/read"),
    ("HEAD", "blob", "metadata"): ("GetBlobMetadata", "r", f"{_BLOBS}/read"),
    ("GET", "blob", "metadata"): ("GetBlobMetadata", "r", f"{_BLOBS}/read"),
    ("GET", "blob", "blocklist"): ("GetBlockList", "r", f"{_BLOBS}/read"),
    ("PUT", "blob", ""): ("PutBlob", "wc", f"{_BLOBS}/write"),
    ("PUT", "blob", "block"): ("PutBlock", "wc", f"{_BLOBS}/write"),
    ("PUT", "blob", "blocklist"): ("PutBlockList", "wc", f"{_BLOBS}/write"),
    ("PUT", "blob", "metadata"): ("SetBlobMetadata", "w", f"{_BLOBS}/write"),
    ("DELETE", "blob", ""): ("DeleteBlob", "d", f"{_BLOBS}/delete"),
    ("GET", "container", "list"): ("ListBlobs", "l", f"{_BLOBS}/read"),
    ("PUT", "container", ""): ("CreateContainer", "", f"{_CONTAINERS}/write"),
    ("DELETE", "container", ""): ("DeleteContainer", "", f"{_CONTAINERS}/delete"),
    ("HEAD", "container", ""): ("GetContainerProperties", "", f"{_CONTAINERS}/read"),
    ("GET", "container", ""): ("GetContainerProperties", "", f"{_CONTAINERS}/read"),
    ("GET", "account", "list"): ("ListContainers", "", f"{_CONTAINERS}/read"),
}


class Service:
    """Answers calls.

    Args:
        store: What the account keeps.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handlers: dict[str, Callable[[Call], Response]] = {
            "GetBlob": self._get,
            "GetBlobProperties": self._properties,
            "GetBlobMetadata": self._properties,
            "GetBlockList": self._block_list,
            "PutBlob": self._put,
            "PutBlock": self._put_block,
            "PutBlockList": self._put_block_list,
            "SetBlobMetadata": self._set_metadata,
            "DeleteBlob": self._delete,
            "ListBlobs": self._list,
            "CreateContainer": self._create_container,
            "DeleteContainer": self._delete_container,
            "GetContainerProperties": self._container,
            "ListContainers": self._containers,
        }

    def answer(self, operation: str, call: Call) -> Response:
        """Answer a call.

        Raises:
            BlobError: It is refused.
        """
        if call.container and not _CONTAINER.fullmatch(call.container):
            raise BlobError(
                "InvalidResourceName", "The specified resource name contains invalid characters."
            )
        return self._handlers[operation](call)

    def _get(self, call: Call) -> Response:
        blob, data = self._store.content(call.container, call.blob)
        _check_conditions(call, blob)
        wanted = call.headers.get("x-ms-range") or call.headers.get("range", "")
        part = _range(wanted, blob.size)
        if part is None:
            return _answer(200, _headers(blob), data, blob.content_type)
        begin, end = part
        headers = _headers(blob)
        headers["x-ms-blob-content-md5"] = headers.pop("Content-MD5")
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{blob.size}"
        return _answer(206, headers, data[begin:end], blob.content_type)

    def _properties(self, call: Call) -> Response:
        blob = self._store.get(call.container, call.blob)
        _check_conditions(call, blob)
        answer = _answer(200, _headers(blob), b"", blob.content_type)
        answer.headers["Content-Length"] = str(blob.size)
        answer.automatically_set_content_length = False
        return answer

    def _put(self, call: Call) -> Response:
        kind = call.headers.get("x-ms-blob-type", "")
        if not kind:
            raise BlobError(
                "MissingRequiredHeader",
                "An HTTP header that's mandatory for this request is not specified: "
                "x-ms-blob-type.",
            )
        if kind != "BlockBlob" or "x-ms-copy-source" in call.headers:
            raise BlobError("NotImplemented", f"the emulator keeps block blobs, not '{kind}'")
        _check_conditions(call, self._store.find(call.container, call.blob))
        _check_md5(call)
        return self._stored(call, call.body)

    def _put_block(self, call: Call) -> Response:
        block = call.query.get("blockid", "")
        try:
            known = base64.b64decode(block, validate=True)
        except binascii.Error:
            known = b""
        if not 0 < len(known) <= 64:
            raise BlobError("InvalidBlockId", "The specified block ID is invalid.")
        _check_md5(call)
        self._store.put_block(call.container, call.blob, block, call.body)
        md5 = base64.b64encode(hashlib.md5(call.body, usedforsecurity=False).digest()).decode()
        return _answer(201, {"Content-MD5": md5, "x-ms-request-server-encrypted": "true"})

    def _put_block_list(self, call: Call) -> Response:
        _check_conditions(call, self._store.find(call.container, call.blob))
        blocks = self._store.blocks(call.container, call.blob)
        wanted = documents.parse_block_list(call.body)
        if any(name not in blocks for name in wanted):
            raise BlobError("InvalidBlockList", "The specified block list is invalid.")
        return self._stored(call, b"".join(blocks[name] for name in wanted))

    def _stored(self, call: Call, data: bytes) -> Response:
        if len(data) > MAX_BLOB_BYTES:
            raise BlobError("RequestBodyTooLarge", "The request body is too large.")
        kind = call.headers.get("x-ms-blob-content-type", "")
        blob = self._store.put(
            call.container,
            call.blob,
            data,
            content_type=kind or call.headers.get("content-type", ""),
            metadata=_metadata(call),
        )
        headers = _marks(blob) | {"x-ms-request-server-encrypted": "true"}
        return _answer(201, headers | {"Content-MD5": blob.md5})

    def _block_list(self, call: Call) -> Response:
        blocks = self._store.blocks(call.container, call.blob)
        if not blocks:
            self._store.get(call.container, call.blob)
        return _xml(documents.block_list(blocks))

    def _set_metadata(self, call: Call) -> Response:
        _check_conditions(call, self._store.get(call.container, call.blob))
        blob = self._store.describe(call.container, call.blob, _metadata(call))
        return _answer(200, _marks(blob) | {"x-ms-request-server-encrypted": "true"})

    def _delete(self, call: Call) -> Response:
        _check_conditions(call, self._store.get(call.container, call.blob))
        self._store.delete(call.container, call.blob)
        return _answer(202, {"x-ms-delete-type-permanent": "true"})

    def _list(self, call: Call) -> Response:
        most = _most(call.query.get("maxresults", ""))
        prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
        names: list[tuple[str, bool]] = []
        for name in self._store.names(call.container, prefix):
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            entry = (prefix + head + found, True) if found else (name, False)
            if entry not in names[-1:]:
                names.append(entry)
        names = [entry for entry in names if entry[0] >= call.query.get("marker", "")]
        page, rest = names[:most], names[most:]
        entries: list[Blob | str] = []
        for name, is_prefix in page:
            entries.append(name if is_prefix else self._store.get(call.container, name))
        return _xml(
            documents.blob_list(
                endpoint=call.endpoint,
                container=call.container,
                query=call.query,
                entries=entries,
                following=rest[0][0] if rest else "",
            )
        )

    def _create_container(self, call: Call) -> Response:
        self._store.create_container(call.container)
        return _answer(201, {"ETag": '"0x1"', "Last-Modified": formatdate(usegmt=True)})

    def _delete_container(self, call: Call) -> Response:
        self._store.delete_container(call.container)
        return _answer(202, {})

    def _container(self, call: Call) -> Response:
        self._store.names(call.container)
        headers = {"ETag": '"0x1"', "Last-Modified": formatdate(0, usegmt=True)}
        return _answer(200, headers | {"x-ms-lease-status": "unlocked"})

    def _containers(self, call: Call) -> Response:
        return _xml(documents.container_list(call.endpoint, self._store.containers()))


def _headers(blob: Blob) -> dict[str, str]:
    return {
        **_marks(blob),
        "Content-MD5": blob.md5,
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-server-encrypted": "true",
        "x-ms-creation-time": formatdate(blob.created, usegmt=True),
        **{f"x-ms-meta-{name}": value for name, value in blob.metadata.items()},
    }


def _marks(blob: Blob) -> dict[str, str]:
    modified = formatdate(blob.modified, usegmt=True)
    return {"ETag": f'"{blob.etag}"', "Last-Modified": modified}


def _answer(status: int, headers: dict[str, str], body: bytes = b"", kind: str = "") -> Response:
    return Response([body], status=status, headers=headers, content_type=kind or None)


def _xml(body: bytes) -> Response:
    return _answer(200, {}, body, "application/xml")


def _check_conditions(call: Call, blob: Blob | None) -> None:
    match, none_match = call.headers.get("if-match", ""), call.headers.get("if-none-match", "")
    etag = blob.etag if blob is not None else ""
    if match and (blob is None or match not in {"*", f'"{etag}"', etag}):
        raise _not_met()
    if none_match and blob is not None and none_match in {"*", f'"{etag}"', etag}:
        if call.method == "PUT" and none_match == "*":
            raise BlobError("BlobAlreadyExists", "The specified blob already exists.")
        raise (
            _not_met()
            if call.method not in {"GET", "HEAD"}
            else BlobError("ConditionNotMet", "The condition was not met.", status=304)
        )


def _not_met() -> BlobError:
    return BlobError(
        "ConditionNotMet",
        "The condition specified using HTTP conditional header(s) is not met.",
    )


def _check_md5(call: Call) -> None:
    sent = call.headers.get("content-md5", "")
    real = base64.b64encode(hashlib.md5(call.body, usedforsecurity=False).digest()).decode()
    if sent and sent != real:
        raise BlobError(
            "Md5Mismatch",
            "The MD5 value specified in the request did not match with the MD5 value calculated "
            "by the server.",
        )


def _metadata(call: Call) -> dict[str, str]:
    found = {
        name.removeprefix("x-ms-meta-"): value
        for name, value in call.headers.items()
        if name.startswith("x-ms-meta-")
    }
    for name in found:
        if not _METADATA.fullmatch(name):
            raise BlobError("InvalidMetadata", f"The metadata name '{name}' is not an identifier.")
    return found


def _range(header: str, size: int) -> tuple[int, int] | None:
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    begin = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    if begin >= end:
        raise BlobError(
            "InvalidRange", "The range specified is invalid for the current size of the resource."
        )
    return begin, end


def _most(text: str) -> int:
    if not text:
        return MAX_RESULTS
    if not text.isdecimal() or int(text) == 0:
        raise BlobError(
            "InvalidQueryParameterValue",
            "Value for one of the query parameters specified in the request URI is invalid: "
            "maxresults",
        )
    return min(int(text), MAX_RESULTS)
