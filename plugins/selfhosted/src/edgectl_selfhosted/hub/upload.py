"""Multipart uploads, streamed: the file part goes to disk as it comes, never whole in memory."""

from __future__ import annotations

import asyncio
import re

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from edgectl_selfhosted.hub.artifacts import Receiver
from edgectl_selfhosted.hub.errors import Fault, HubError

_PIECE = 1 << 20
_MAX_PARTS = 20
_MAX_FIELD = 4_096
_HASHES = {"md5sum": 32, "sha1sum": 40, "sha256sum": 64}
_HEX = re.compile(r"[0-9a-f]+")


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What came beside the file."""

    filename: str
    fields: dict[str, str]


class _Parts:
    """Collects the events of the multipart parser; the file's bytes wait in ``pending``."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.pending = bytearray()
        self.finished = False
        self._count = 0
        self._name = ""
        self._is_file = False
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[str, str] = {}
        self._text = bytearray()

    def on_part_begin(self) -> None:
        self._count += 1
        if self._count > _MAX_PARTS:
            raise HubError(Fault.UPLOAD, f"an upload has at most {_MAX_PARTS} parts")
        self._headers = {}
        self._text = bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        name = self._header.decode("latin-1").lower()
        self._headers[name] = self._value.decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", ""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._name == "file"
        if self._is_file:
            if self.filename is not None:
                raise HubError(Fault.UPLOAD, "an upload has one part 'file', this one has more")
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.pending += data[start:end]
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD:
            raise HubError(Fault.UPLOAD, f"a form field has at most {_MAX_FIELD} bytes")

    def on_part_end(self) -> None:
        if not self._is_file:
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def on_end(self) -> None:
        self.finished = True


async def receive_form(request: Request, receiver: Receiver) -> Form:
    """Stream a multipart request's part ``file`` into ``receiver``.

    Raises:
        HubError: It is not multipart, has no file, ends early, or is too large.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise HubError(Fault.MEDIA_TYPE, "an artifact is uploaded as multipart/form-data")
    parts = _Parts()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": parts.on_part_begin,
            "on_part_data": parts.on_part_data,
            "on_part_end": parts.on_part_end,
            "on_header_field": parts.on_header_field,
            "on_header_value": parts.on_header_value,
            "on_header_end": parts.on_header_end,
            "on_headers_finished": parts.on_headers_finished,
            "on_end": parts.on_end,
        },
    )
    async for chunk in request.stream():
        try:
            parser.write(chunk)
        except FormParserError as exc:
            raise HubError(Fault.UPLOAD, f"the multipart body cannot be read: {exc}") from exc
        if len(parts.pending) >= _PIECE:
            await _drain(parts, receiver)
    await _drain(parts, receiver)
    if not parts.finished or parts.filename is None:
        raise HubError(Fault.UPLOAD, "the upload has no part 'file', or ends before its end")
    return Form(filename=parts.filename, fields=parts.fields)


async def _drain(parts: _Parts, receiver: Receiver) -> None:
    if parts.pending:
        data, parts.pending = bytes(parts.pending), bytearray()
        await asyncio.to_thread(receiver.write, data)


def check_filename(name: str) -> str:
    """Return a file name that is safe as the last part of a path and of an address.

    Raises:
        HubError: ``CONSTRAINT``.
    """
    usable = 0 < len(name) <= 256 and name.isprintable() and name not in {".", ".."}
    if not usable or "/" in name or "\\" in name:
        raise HubError(
            Fault.CONSTRAINT,
            f"'{name[:80]}' is not a file name: 1 to 256 printable characters without slash",
        )
    return name


def check_hashes(fields: dict[str, str], found: dict[str, str]) -> None:
    """Compare the hashes that the client gave with those of the bytes.

    Raises:
        HubError: ``CHECKSUM``.
    """
    for name, length in _HASHES.items():
        given = fields.get(name, "").lower()
        if not given:
            continue
        if len(given) != length or not _HEX.fullmatch(given):
            raise HubError(Fault.CHECKSUM, f"'{given[:70]}' is not a {name}")
        if given != found[name]:
            raise HubError(
                Fault.CHECKSUM, f"the {name} of the file is {found[name]}, the upload says {given}"
            )
