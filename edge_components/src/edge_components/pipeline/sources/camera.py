"""Frames of a camera or a video file, through PyAV (FFmpeg's libraries).

Every frame of a stream has to be decoded, because the next ones build on it; only those that
``max_fps`` lets through are turned into arrays. A stream that ends, stalls or cannot be opened is
opened again after a while.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import av

from edge_components.contract.pipeline import CameraSource
from edge_components.pipeline.endpoints import Endpoint
from edge_components.pipeline.reading import Outcome, Reading

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

_DEVICES = "/dev/video"


class Pace:
    """Which frames go on: at most so many a second of the stream's own time.

    Times may jump (a stream that begins anew); then the pace begins anew too.
    """

    def __init__(self, max_fps: float) -> None:
        self._period = 1.0 / max_fps
        self._due: float | None = None

    def lets_through(self, seconds: float) -> bool:
        """Whether the frame of that time goes on."""
        due = self._due
        if due is not None and due - 2 * self._period < seconds < due - self._period * 1e-6:
            return False
        if due is None or abs(seconds - due) > 2 * self._period:
            due = seconds
        self._due = due + self._period
        return True


class CameraFeed:
    """Plays a stream."""

    threaded = True

    def __init__(self, source: CameraSource, endpoint: Endpoint) -> None:
        self.retry_s = source.retry_s
        self.max_retry_s = source.max_retry_s
        self._source = source
        self._endpoint = endpoint
        self._numbers = itertools.count(1)

    def run(self, put: Callable[[Reading], bool], stop: threading.Event) -> None:
        """Bring frames until told to stop.

        Raises:
            OSError: The stream cannot be opened, stalls, or ends where it should not.
        """
        shown = self._endpoint.shown
        try:
            with self._open() as container:
                self._play(container, put, stop)
        except (av.error.FFmpegError, OSError, ValueError, IndexError) as exc:
            # FFmpeg's own text repeats the address with its password.
            reason = getattr(exc, "strerror", None) or type(exc).__name__
            raise ConnectionError(f"'{shown}': {reason}") from None
        if self._source.at_end == "reconnect" and not stop.is_set():
            raise ConnectionError(f"'{shown}': the stream ended")

    def _open(self) -> InputContainer:
        url, timeout_s = self._endpoint.url, self._source.timeout_s
        options: dict[str, str] = {}
        if url.startswith(("rtsp:", "rtsps:")):
            options = {"rtsp_transport": self._source.transport}
        return av.open(
            url,
            format="v4l2" if url.startswith(_DEVICES) else None,
            options=options,
            timeout=(timeout_s, timeout_s),
        )

    def _play(
        self,
        container: InputContainer,
        put: Callable[[Reading], bool],
        stop: threading.Event,
    ) -> None:
        pace = Pace(self._source.max_fps)
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            if stop.is_set():
                return
            if not pace.lets_through(_seconds(frame)):
                continue
            name = f"frame-{next(self._numbers)}"
            reading = Reading(name, frame.to_ndarray(format="rgb24"), done=_nothing)
            if not put(reading) and not reading.is_settled:
                reading.finish(Outcome.LEFT)
                return


def _seconds(frame: VideoFrame) -> float:
    found: Any = frame.time
    return time.monotonic() if found is None else float(found)


def _nothing(outcome: Outcome, why: str) -> None:
    """A frame that passed cannot be had again, so nobody needs to know."""
    del outcome, why
