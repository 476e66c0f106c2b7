"""Standard input as a source: lines, frames with their length, or one whole reading."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator

from edge_components.contract.pipeline import StdinSource
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reading import Outcome, Reading

_CHUNK = 64 << 10
_LOOK_S = 0.2
_LENGTH_BYTES = 4


class StdinFeed:
    """Reads a descriptor until its end."""

    threaded = True

    def __init__(self, source: StdinSource, descriptor: int = 0) -> None:
        self._source = source
        self._descriptor = descriptor
        self._count = 0

    def run(self, put: Callable[[Reading], bool], stop: threading.Event) -> None:
        """Bring readings until the end of the input, or until told to stop.

        Raises:
            PipelineError: The input ends within a frame.
        """
        cut = {"lines": self._lines, "frames": self._frames, "whole": self._whole}
        for body in cut[self._source.framing](stop):
            self._count += 1
            reading = Reading(f"{self._source.framing.removesuffix('s')}-{self._count}", body)
            if not put(reading) and stop.is_set():
                reading.finish(Outcome.LEFT)
                return

    def _chunks(self, stop: threading.Event) -> Iterator[bytes]:
        while not stop.is_set():
            if not select.select([self._descriptor], [], [], _LOOK_S)[0]:
                continue
            data = os.read(self._descriptor, _CHUNK)
            if not data:
                return
            yield data

    def _lines(self, stop: threading.Event) -> Iterator[bytes | PipelineError]:
        limit = self._source.max_bytes
        pending = bytearray()
        skipping = False
        for chunk in self._chunks(stop):
            pending += chunk
            *lines, rest = pending.split(b"\n")
            for line in lines:
                if skipping:
                    skipping = False
                elif line.strip():
                    yield bytes(line) if len(line) <= limit else _too_long(limit)
            pending = bytearray(rest)
            if len(pending) > limit:
                if not skipping:
                    yield _too_long(limit)
                skipping = True
                pending.clear()
        if pending.strip() and not skipping and not stop.is_set():
            yield bytes(pending)

    def _frames(self, stop: threading.Event) -> Iterator[bytes | PipelineError]:
        limit = self._source.max_bytes
        pending = bytearray()
        for chunk in self._chunks(stop):
            pending += chunk
            while len(pending) >= _LENGTH_BYTES:
                length = int.from_bytes(pending[:_LENGTH_BYTES], "big")
                if length > limit:
                    raise PipelineError(f"a frame of {length} bytes; at most {limit} are taken")
                end = _LENGTH_BYTES + length
                if len(pending) < end:
                    break
                yield bytes(pending[_LENGTH_BYTES:end])
                del pending[:end]
        if pending and not stop.is_set():
            yield PipelineError("the input ends within a frame")

    def _whole(self, stop: threading.Event) -> Iterator[bytes | PipelineError]:
        limit = self._source.max_bytes
        whole = bytearray()
        for chunk in self._chunks(stop):
            whole += chunk
            if len(whole) > limit:
                yield _too_long(limit)
                return
        if not stop.is_set():
            yield bytes(whole)


def _too_long(limit: int) -> PipelineError:
    return PipelineError(f"a reading of more than {limit} bytes")
