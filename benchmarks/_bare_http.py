"""The least that Python does for a model behind HTTP: sockets, ``session.run``, nothing else.

Takes binary requests of a model with one input, one sample each, and checks nothing of them. It
shows how much of a raw loop the socket itself costs.

    python benchmarks/_bare_http.py MODEL      prints the port
"""

from __future__ import annotations

import re
import selectors
import socket
import sys

import numpy as np
import onnxruntime as ort

_JSON_LENGTH = re.compile(rb"\r\ninference-header-content-length: *(\d+)", re.IGNORECASE)


class _Client:
    def __init__(self, connection: socket.socket, session: ort.InferenceSession) -> None:
        self._connection = connection
        self._session = session
        (tensor,) = session.get_inputs()
        self._name = tensor.name
        shape = [dim if isinstance(dim, int) else 1 for dim in tensor.shape]
        self._picture = np.empty(shape, np.float32)
        self._room = memoryview(self._picture.view(np.uint8).reshape(-1))
        self._head = b""
        self._filled = -1  # -1 until the head is whole

    def read(self) -> bool:
        """Take what is there, and answer a request that is whole; False when the client left."""
        if self._filled < 0:
            data = self._connection.recv(512)
            self._head += data
            self._begin()
            return bool(data)
        count = self._connection.recv_into(self._room[self._filled :])
        self._filled += count
        if self._filled == len(self._room):
            (scores,) = self._session.run(None, {self._name: self._picture})
            body = scores.tobytes()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._connection.sendall(head + body)
            self._head, self._filled = b"", -1
        return bool(count)

    def _begin(self) -> None:
        end, found = self._head.find(b"\r\n\r\n"), _JSON_LENGTH.search(self._head)
        tensor_at = end + 4 + (int(found[1]) if found else 0)
        if end >= 0 and len(self._head) >= tensor_at:
            begun = self._head[tensor_at:]
            self._room[: len(begun)] = begun
            self._filled = len(begun)


def serve(model: str) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.data is None:
                connection, _ = listener.accept()
                ready.register(connection, selectors.EVENT_READ, _Client(connection, session))
            elif not key.data.read():
                ready.unregister(key.fileobj)


if __name__ == "__main__":
    serve(sys.argv[1])
