"""Sends broken requests, and tells a refusal from a fault of the server's own."""

from __future__ import annotations

import errno
import json
import re
import socket

import grpc

# What broken HTTP gets (docs/runtime.md); every other answer from 500 on is a fault.
DOCUMENTED = {501, 505}
CODES = {
    *(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND),
    *(grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED),
}
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n(?:[^\r\n]+\r\n)*\r\n")
_LENGTH = re.compile(rb"Content-Length: (\d+)\r\n")


def exchange(port: int, data: bytes) -> bytes:
    """Send all, close our side, and read what comes."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                found += chunk
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has closed before it took all
        except OSError as exc:
            if exc.errno != errno.ENOTCONN:
                raise
    return found


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Split what a connection gave into answers; a HEAD's has a length and no body.

    Raises:
        ValueError: It is none.
    """
    found = []
    while data:
        head = _ANSWER.match(data)
        if head is None:
            raise ValueError(data[:300])
        data = data[head.end() :]
        status, length = int(head[1]), _LENGTH.search(head[0])
        size = int(length[1]) if length and not _ANSWER.match(data) else 0
        found.append((status, data[:size]))
        data = data[size:]
    return found


def faults(data: bytes) -> list[str]:
    """Say what is the server's own fault in what a connection gave."""
    found = []
    try:
        for status, body in answers(data):
            if status >= 500 and status not in DOCUMENTED:
                found.append(f"status {status}: {body[:300]!r}")
            if status >= 400 and body and list(json.loads(body)) != ["error"]:
                found.append(f"no error object: {body[:300]!r}")
    except ValueError as exc:
        found.append(f"no answer: {exc}")
    return found
