"""Requests that are broken in many ways, from a seed: REST as bytes, gRPC as messages.

Each begins as a request that the endpoint takes; one or two things are then done to it. Some stay
whole by chance, so an answer of 200 is no fault; what counts is that none is the server's own.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

from edge_components.runtime.grpc.schema import MESSAGES

Document = dict[str, Any]

REST: dict[str, tuple[str, str]] = {
    "live": ("GET", "/v2/health/live"),
    "ready": ("GET", "/v2/health/ready"),
    "server": ("GET", "/v2"),
    "model": ("GET", "/v2/models/twice"),
    "version": ("GET", "/v2/models/twice/versions/1"),
    "model ready": ("GET", "/v2/models/twice/ready"),
    "version ready": ("GET", "/v2/models/twice/versions/1/ready"),
    "infer": ("POST", "/v2/models/twice/infer"),
    "version infer": ("POST", "/v2/models/twice/versions/1/infer"),
    "infer any shape": ("POST", "/v2/models/cube/infer"),
    "infer strings": ("POST", "/v2/models/words/infer"),
    "infer bytes": ("POST", "/v2/models/small/infer"),
    "infer bfloat16": ("POST", "/v2/models/brain/infer"),
    "all statistics": ("GET", "/v2/models/stats"),
    "statistics": ("GET", "/v2/models/twice/stats"),
    "version statistics": ("GET", "/v2/models/twice/versions/1/stats"),
    "index": ("POST", "/v2/repository/index"),
    "load": ("POST", "/v2/repository/models/none/load"),
    "unload": ("POST", "/v2/repository/models/none/unload"),
    "metrics": ("GET", "/metrics"),
    "openapi": ("GET", "/openapi.json"),
}
INPUTS: dict[str, tuple[str, list[int], list[Any]]] = {
    "twice": ("FP32", [1, 4], [1, 2, 3, 4]),
    "cube": ("FP32", [1, 2, 2], [1, 2, 3, 4]),
    "words": ("BYTES", [2], ["a", "ü"]),
    "small": ("INT8", [3], [-128, 0, 127]),
    "brain": ("BF16", [2], [1.0, -2.5]),
}
# What may stand where a number, a text or a list belongs.
ODD = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40),
    *(0.5, -0.0, 1e308, 1e-320, 3.4e38, "", "x", "FP32", "\0", "\ud800", "ü" * 50, [], [[]], [0]),
    *([1, 2, 3, 4], [0, 2**62, 2**62], [-1, 4], {}, {"a": 1}, {"binary_data_size": 4}),
    {"binary_data_size": -1},
    {"binary_data_size": 2**70},
    {"shared_memory_region": "r", "shared_memory_byte_size": 8},
    {"classification": 2},
)
TOKENS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"1" * 5000,
    b"[" * 3000,
    b'{"a":' * 1500,
    b"\xff\xfe",
    b"\\u12",
)


def rest_requests(seed: str, endpoint: str, count: int) -> Iterator[bytes]:
    """Give so many broken requests to one of ``REST``."""
    chooser = random.Random(f"{seed} {endpoint}")
    for _ in range(count):
        yield _rest(chooser, *REST[endpoint])


def _rest(chooser: random.Random, method: str, path: str) -> bytes:
    lines = [b"Host: x"]
    body = b""
    if method == "POST":
        body = _body(chooser, path, lines)
    elif chooser.random() < 0.3:
        body = chooser.randbytes(chooser.randrange(40))
    framing = chooser.choice((_exact, _exact, _exact, _wrong_length, _chunks, _both, _none))
    body = framing(chooser, lines, body)
    start = f"{method} {path} HTTP/1.1".encode()
    if chooser.random() < 0.4:
        start = chooser.choice(_STARTS)(chooser, start)
    if chooser.random() < 0.5:
        lines.insert(chooser.randrange(len(lines) + 1), chooser.choice(_LINES)(chooser))
    data = b"\r\n".join([start, *lines, b"", body])
    return chooser.choice(_WHOLE)(chooser, data) if chooser.random() < 0.3 else data


def bodies(seed: str, endpoint: str, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Give so many broken bodies of an inference, each with the header line that belongs to it."""
    chooser = random.Random(f"{seed} {endpoint}")
    for _ in range(count):
        lines: list[bytes] = []
        body = _body(chooser, REST[endpoint][1], lines)
        yield body, b"".join(line + b"\r\n" for line in lines)


# -- how the body's end is told


def _exact(_: random.Random, lines: list[bytes], body: bytes) -> bytes:
    lines.append(b"Content-Length: %d" % len(body))
    return body


def _wrong_length(chooser: random.Random, lines: list[bytes], body: bytes) -> bytes:
    wrong = chooser.choice(
        (len(body) + chooser.randrange(1, 50), max(0, len(body) - chooser.randrange(1, 50)), 10**18)
    )
    lines.append(b"Content-Length: %d" % wrong)
    return body


def _chunks(chooser: random.Random, lines: list[bytes], body: bytes) -> bytes:
    lines.append(b"Transfer-Encoding: chunked")
    parts, position = [], 0
    while position < len(body):
        size = chooser.randrange(1, len(body) - position + 1)
        piece = body[position : position + size]
        told = size if chooser.random() < 0.9 else chooser.choice((size + 1, 2**70, 0, -1))
        end = chooser.choice(
            (b"\r\n", b"\r\n", b"\r\n", b"\n", b";a=b\r\n", b";a\nb\r\n", b" \r\n")
        )
        parts.append(b"%x" % told + end + piece + b"\r\n")
        position += size
    last = chooser.choice(
        (b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"", b"00\r\n", b"x\r\n")
    )
    return b"".join(parts) + last


def _both(chooser: random.Random, lines: list[bytes], body: bytes) -> bytes:
    lines.append(b"Content-Length: %d" % len(body))
    return _chunks(chooser, lines, body)


def _none(_: random.Random, __: list[bytes], body: bytes) -> bytes:
    return body


# -- what is done to the first line, the headers, and all bytes


def _flip(chooser: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(chooser.randrange(1, 4)):
        if found:
            found[chooser.randrange(len(found))] ^= 1 << chooser.randrange(8)
    return bytes(found)


def _insert(chooser: random.Random, data: bytes, piece: bytes) -> bytes:
    at = chooser.randrange(len(data) + 1)
    return data[:at] + piece + data[at:]


Change = Callable[[random.Random, bytes], bytes]
_STARTS: tuple[Change, ...] = (
    lambda _, start: start.replace(b"1.1", b"1.0"),
    lambda _, start: start.replace(b"1.1", b"2.0"),
    lambda _, start: start.replace(b"1.1", b"9.9"),
    lambda _, start: start.replace(b" HTTP/1.1", b""),
    lambda _, start: start.lower(),
    lambda _, start: start.replace(b" ", b"\t"),
    lambda _, start: start.replace(b" ", b"  "),
    lambda _, start: start.replace(b" /", b" http://a.b/"),
    lambda _, start: start.replace(b" /", b" //"),
    lambda _, start: start.replace(b"/", b"%2F"),
    lambda _, start: start.replace(b" HTTP", b"/ HTTP"),
    lambda _, start: start.replace(b" HTTP", b"?a=%zz&b HTTP"),
    lambda _, start: start.replace(b" HTTP", b"%00 HTTP"),
    lambda c, start: start.replace(
        b" HTTP", b"/%b HTTP" % c.choice((b"..", b"%ff", b"a" * 5000, b"\xc3\xbc"))
    ),
    lambda c, start: (
        c.choice((b"HEAD", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"X", b""))
        + start[start.index(b" ") :]
    ),
)
_LINES: tuple[Callable[[random.Random], bytes], ...] = (
    lambda _: b"Host: y",
    lambda _: b"Host:",
    lambda _: b"Host: a b/c",
    lambda _: b"Content-Length: 3",
    lambda _: b"Content-Length: +3",
    lambda _: b"Content-Length : 3",
    lambda _: b"Transfer-Encoding: chunked",
    lambda _: b"Transfer-Encoding: gzip, chunked",
    lambda _: b"Transfer-Encoding: identity",
    lambda _: b"Content-Encoding: gzip",
    lambda _: b"Expect: 100-continue",
    lambda _: b"Expect: coffee",
    lambda _: b"Connection: close",
    lambda _: b"Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA",
    lambda _: b" folded: line",
    lambda _: b"no colon",
    lambda _: b": no name",
    lambda _: b"A: b\nC: d",
    lambda _: b"A: b\rC: d",
    lambda _: b"A\0: b",
    lambda c: b"A: " + c.randbytes(20),
    lambda c: c.randbytes(20) + b": a",
    lambda _: b"A: " + b"b" * 20_000,
    lambda _: b"\r\n".join([b"A: b"] * 80),
    lambda c: b"Inference-Header-Content-Length: %d" % c.choice((0, 1, 10, 10**17)),
    lambda _: b"Inference-Header-Content-Length: -1",
    lambda c: b"Authorization: Bearer " + c.randbytes(8).hex().encode(),
)
_WHOLE: tuple[Change, ...] = (
    lambda c, data: data[: c.randrange(len(data))],
    lambda c, data: data[c.randrange(len(data)) :],
    _flip,
    lambda c, data: _insert(c, data, c.randbytes(c.randrange(1, 30))),
    lambda _, data: data.replace(b"\r\n", b"\n"),
    lambda _, data: b"\r\n\r\n" + data,
    lambda _, data: data + data,
    lambda c, _: c.randbytes(c.randrange(1, 3000)) + b"\r\n\r\n",
)


# -- bodies


def _body(chooser: random.Random, path: str, lines: list[bytes]) -> bytes:
    if not path.endswith("/infer"):
        document: Document = chooser.choice(({}, {"ready": True}, {"parameters": {}}))
        return _spoil(chooser, _dump(_change(chooser, document)))
    datatype, shape, values = INPUTS[path.split("/")[3]]
    given: Document = {"name": "x", "datatype": datatype, "shape": shape, "data": values}
    document: Document = {"id": "1", "inputs": [given]}
    if chooser.random() < 0.4:
        document |= {"outputs": [{"name": "y"}], "parameters": {}}
    tail = b""
    if chooser.random() < 0.4:
        del given["data"]
        tail = chooser.randbytes(chooser.choice((0, 3, 4, 8, 16, 16, 40)))
        if datatype == "BYTES" and chooser.random() < 0.7:
            tail = struct.pack("<I", chooser.choice((0, 1, 2, 2**32 - 1))) + tail
        given["parameters"] = {"binary_data_size": len(tail)}
        if chooser.random() < 0.6:
            document["parameters"] = {"binary_data_output": chooser.random() < 0.7}
    for _ in range(chooser.randrange(3)):
        document = _change(chooser, document)
    text = _dump(document)
    if "data" not in given or chooser.random() < 0.1:
        told = len(text) + chooser.choice((0, 0, 0, 0, 1, -1, 1000))
        lines.append(b"Inference-Header-Content-Length: %d" % told)
    return _spoil(chooser, text) + tail


def _dump(document: Any) -> bytes:
    return json.dumps(document).encode()


def _change(chooser: random.Random, value: Any) -> Any:
    """Put something odd somewhere in a document."""
    if isinstance(value, dict) and value and chooser.random() < 0.85:
        key = chooser.choice(sorted(value))
        if chooser.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: _change(chooser, value[key])}
    if isinstance(value, list) and value and chooser.random() < 0.7:
        at = chooser.randrange(len(value))
        if chooser.random() < 0.2:
            return value * chooser.choice((0, 2, 300))
        return [*value[:at], _change(chooser, value[at]), *value[at + 1 :]]
    return chooser.choice(ODD)


def _spoil(chooser: random.Random, text: bytes) -> bytes:
    if chooser.random() > 0.3:
        return text
    return chooser.choice(
        (
            lambda: text[: chooser.randrange(len(text))],
            lambda: _insert(chooser, text, chooser.choice(TOKENS)),
            lambda: _flip(chooser, text),
            lambda: b" " * 5000 + text,
            lambda: text + b"x",
            lambda: chooser.randbytes(200),
            lambda: text.replace(b"1", b"NaN"),
        )
    )()


# -- gRPC

METHODS = tuple(name.removesuffix("Request") for name in MESSAGES if name.endswith("Request"))


def grpc_messages(seed: str, method: str, count: int) -> Iterator[bytes]:
    """Give so many messages to one of ``METHODS``: broken bytes, and whole ones without sense."""
    chooser = random.Random(f"{seed} {method}")
    for _ in range(count):
        data = _message(chooser, method).SerializeToString()
        yield chooser.choice(_BYTES)(chooser, data) if chooser.random() < 0.5 else data


_BYTES: tuple[Change, ...] = (
    lambda c, data: data[: c.randrange(len(data) + 1)],
    _flip,
    lambda c, data: _insert(c, data, c.randbytes(c.randrange(1, 30))),
    lambda c, _: c.randbytes(c.randrange(200)),
    lambda c, data: data + b"\xf2\x3e" + bytes([c.randrange(100)]) + c.randbytes(20),
    lambda _, data: data + data,
    lambda _, data: data + b"\x0a\xff\xff\xff\xff\x0f",
    lambda _, data: data + b"\x7a" * 3000,
    lambda _, data: data + bytes(400_000),
)


def _message(chooser: random.Random, method: str) -> Any:
    request = MESSAGES[f"{method}Request"]()
    fields = request.DESCRIPTOR.fields_by_name
    for name in ("name", "model_name", "version", "model_version"):
        if name in fields:
            known = ("1", "", "2", "x") if "version" in name else (*INPUTS, "none", "", "ü" * 99)
            setattr(request, name, chooser.choice(known))
    if method == "ModelInfer":
        _fill(chooser, request)
    elif "parameters" in fields and chooser.random() < 0.3:
        request.parameters["config"].string_param = "{}"
    if method.startswith("RepositoryModel"):
        request.model_name = "none"  # what is loaded stays as it is
    return request


def _fill(chooser: random.Random, request: Any) -> None:
    datatype, shape, _ = INPUTS.get(request.model_name, INPUTS["twice"])
    request.id = chooser.choice(("", "1", "x" * 5000))
    for _ in range(chooser.choice((0, 1, 1, 1, 1, 2, 300))):
        wrong = chooser.choice(([], [-1], [0, 2**62, 2**62], [2**62] * 3, [1] * 40))
        item = request.inputs.add(
            name=chooser.choice(("x", "x", "x", "y", "")),
            datatype=chooser.choice((datatype, datatype, "FP32", "BYTES", "?", "")),
            shape=chooser.choice((shape, shape, wrong)),
        )
        if chooser.random() < 0.4:
            contents = item.contents
            field = chooser.choice(contents.DESCRIPTOR.fields)
            value: Any = b"\xff" if field.name == "bytes_contents" else 1
            getattr(contents, field.name).extend([value] * chooser.choice((0, 1, 2, 3, 4, 1000)))
        if chooser.random() < 0.2:
            item.parameters["shared_memory_region"].string_param = "r"
    for _ in range(chooser.choice((0, 0, 1, 1, 2, 300))):
        request.raw_input_contents.append(
            chooser.randbytes(chooser.choice((0, 1, 3, 4, 8, 16, 16)))
        )
    for _ in range(chooser.choice((0, 0, 1, 2, 300))):
        request.outputs.add(name=chooser.choice(("y", "y", "z")))
