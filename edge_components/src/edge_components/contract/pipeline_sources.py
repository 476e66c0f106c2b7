"""Where readings come from: the pipeline's sources."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edge_components.contract.pipeline_parts import Bytes, Networked, Part, Seconds

_MAX_BODY = 16 << 20


class DirectorySource(Part, frozen=True, kw_only=True, tag_field="kind", tag="directory"):
    """Files that appear in a folder: png, jpg, bmp, pgm, ``.npy``, ``.json``, ``.csv``, ``.txt``.

    Attributes:
        path: The folder on the device.
        pattern: A glob for the file's name.
        poll_s: Seconds between looks.
        after: What happens to a file that was read: ``delete`` it, ``keep`` it in place (it is
            remembered), or ``move`` it to the subfolder ``done``.
    """

    path: str
    pattern: str = "*"
    poll_s: float = 1.0
    after: Literal["delete", "keep", "move"] = "move"


class PushSource(Part, frozen=True, kw_only=True, tag_field="kind", tag="push"):
    """Readings that clients ``POST`` to ``/pipeline/push`` of the runtime's server.

    Attributes:
        reply: ``answer`` waits for the pipeline's answer; ``accepted`` says 202 at once.
        timeout_s: Longest wait for an answer.
        max_bytes: Largest reading.
    """

    reply: Literal["answer", "accepted"] = "answer"
    timeout_s: Seconds = 10.0
    max_bytes: Bytes = _MAX_BODY


class CameraSource(Networked, frozen=True, kw_only=True, tag_field="kind", tag="camera"):
    """Frames of a camera or a video: RTSP, MJPEG over HTTP, V4L2 (``/dev/video0``), a file.

    Attributes:
        max_fps: Most frames a second that go on; the others are not even converted.
        transport: How RTSP carries the frames.
        at_end: What the end of a stream means: ``reconnect``, or ``stop`` for a video file.
        timeout_s: A stream that gives no frame for so long is opened again.
        retry_s: Wait before opening again, doubled up to ``max_retry_s``.
    """

    max_fps: Annotated[float, Meta(gt=0, le=1000)] = 5.0
    transport: Literal["tcp", "udp"] = "tcp"
    at_end: Literal["reconnect", "stop"] = "reconnect"
    timeout_s: Seconds = 10.0
    retry_s: Seconds = 1.0
    max_retry_s: Seconds = 60.0


class MqttSource(Networked, frozen=True, kw_only=True, tag_field="kind", tag="mqtt"):
    """Messages of an MQTT 5 broker; a message is acknowledged when its answer is delivered.

    Attributes:
        topic: The topic filter, wildcards allowed; the message's topic is the reading's key.
        qos: 1 for at least once, 0 for at most once.
        client_id: Who this is to the broker; by default the device's id.
        session_s: How long the broker keeps messages for a device that is away.
        max_bytes: Largest message; larger ones are refused by the broker.
    """

    topic: Annotated[str, Meta(min_length=1, max_length=1024)]
    qos: Literal[0, 1] = 1
    client_id: str = ""
    session_s: Annotated[int, Meta(ge=0, le=86_400 * 365)] = 3600
    max_bytes: Bytes = _MAX_BODY


class StdinSource(Part, frozen=True, kw_only=True, tag_field="kind", tag="stdin"):
    """Standard input, for ``edge-runtime pipe`` in a shell.

    Attributes:
        framing: ``lines``: each line is JSON, or numbers with commas. ``frames``: each reading
            has its length before it, four bytes, most significant first. ``whole``: all of it
            is one reading.
        max_bytes: Largest reading.
    """

    framing: Literal["lines", "frames", "whole"] = "lines"
    max_bytes: Bytes = _MAX_BODY


class SeriesSource(Part, frozen=True, kw_only=True, tag_field="kind", tag="series"):
    """Lines that a logger appends to a file of numbers, followed as ``tail -F`` does.

    The place in the file is remembered over restarts, and a file that was rotated or cut is
    begun anew.

    Attributes:
        path: The file on the device.
        format: ``csv``, or ``jsonl`` with one JSON array or object a line.
        columns: Which columns (names of the header, keys of the object) are the reading's
            numbers, in order; empty for all but ``key``.
        key: The column that says whose reading it is.
        header: Whether a CSV file begins with the names of its columns.
        begin: Where to begin with a file that is seen for the first time.
        poll_s: Seconds between looks.
    """

    path: str
    format: Literal["csv", "jsonl"] = "csv"
    columns: tuple[str, ...] = ()
    key: str | None = None
    header: bool = True
    begin: Literal["start", "end"] = "start"
    poll_s: Seconds = 0.5


Source = DirectorySource | PushSource | CameraSource | MqttSource | StdinSource | SeriesSource
