"""Frames of video files and streams, through PyAV."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

av = pytest.importorskip("av", reason="needs PyAV (the extra camera)")

from edge_components.pipeline.sources.camera import Pace  # noqa: E402  # only where PyAV is

SIZE = 64


def picture(level: int) -> Any:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A second of 20 frames, brighter and brighter."""
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(picture(10 * number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def camera(url: str, **more: Any) -> dict[str, Any]:
    return {"kind": "camera", "url": url, "retry_s": 0.05, "max_retry_s": 0.1, **more}


STEPS = [
    {"op": "grayscale"},
    {"op": "resize", "size": [2, 2], "method": "box"},
    {"op": "reshape", "shape": [4]},
]


def levels(bench: Any) -> list[float]:
    folder = bench.folder / "answers"
    found = (
        [json.loads(path.read_text()) for path in folder.glob("*.json")] if folder.exists() else []
    )
    found.sort(key=lambda one: one["time_unix_ns"])
    return [one["answer"]["value"] for one in found]


@pytest.fixture
def play(bench: Any, parts: Any, make_model: Any) -> Any:
    def use(source: dict[str, Any], **more: Any) -> Any:
        pipeline = {"source": source, "preprocess": STEPS, "sink": parts.answers, **more}
        return bench.use({**pipeline, "postprocess": [{"op": "value"}]}, make_model(1.0))

    return use


def test_a_video_is_played_once_at_the_pace_that_is_asked_for(
    bench: Any, play: Any, video: Path, until: Any
) -> None:
    runner = play(camera(str(video), at_end="stop", max_fps=5))
    until(lambda: runner.ended)
    assert levels(bench) == pytest.approx([0, 40, 80, 120, 160], abs=6)
    assert not bench.counted("dropped_oldest")


def test_a_camera_that_ends_is_opened_again(bench: Any, play: Any, video: Path, until: Any) -> None:
    play(camera(str(video), max_fps=1), queue={"policy": "block"})
    until(lambda: len(levels(bench)) >= 3)
    assert levels(bench)[:3] == pytest.approx([0, 0, 0], abs=6)
    assert "the stream ended" in bench.told.text()


def test_a_slow_pipeline_drops_the_oldest_frames_and_counts_them(
    bench: Any, play: Any, video: Path, steps_module: Any, until: Any, parts: Any, make_model: Any
) -> None:
    name = steps_module("import time\ndef slow(v, c):\n    time.sleep(0.2)\n    return v\n")
    slow = [{"op": "user", "name": "slow", "timeout_s": 20}, *STEPS]
    bench.use(
        {
            "source": camera(str(video), at_end="stop", max_fps=20),
            "queue": {"policy": "drop_oldest", "length": 1},
            "preprocess": slow,
            "postprocess": [{"op": "value"}],
            "sink": parts.answers,
        },
        make_model(1.0),
        steps={"slow": f"{name}:slow"},
    )
    until(lambda: bench.counted("dropped_oldest") + bench.metrics.pipeline_readings == 20)
    assert bench.counted("dropped_oldest") >= 15
    assert levels(bench)[-1] == pytest.approx(190, abs=6)


class Mjpeg:
    """A camera that streams JPEG over HTTP; it ends after some frames."""

    def __init__(self) -> None:
        self.streams = 0
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.streams += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    for number in range(40):
                        data = jpeg(camera.streams * 40)
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
                        self.wfile.write(f"{head}\r\n\r\n".encode() + data + b"\r\n")
                        assert number < 1000
                except OSError:
                    return

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/stream.mjpg"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def jpeg(level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(min(level, 255))).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def mjpeg() -> Iterator[Mjpeg]:
    found = Mjpeg()
    yield found
    found.close()


def test_a_stream_over_http_is_played_and_opened_again_when_it_breaks(
    bench: Any, play: Any, mjpeg: Mjpeg, until: Any
) -> None:
    play(camera(mjpeg.url, max_fps=100))
    until(lambda: mjpeg.streams >= 3 and max(levels(bench), default=0) > 70)
    assert min(levels(bench)) == pytest.approx(40, abs=6)


def test_a_camera_that_is_not_there_is_told_once_without_its_password(
    bench: Any, play: Any, until: Any, parts: Any, make_model: Any
) -> None:
    url = "rtsp://admin:hunter2@127.0.0.1:1/live"
    bench.use(
        {"source": {"kind": "camera", "endpoint": "gate"}, "sink": parts.answers},
        make_model(1.0),
        endpoints={"gate": {"url": url}},
    )
    until(lambda: "source cannot be used: 'rtsp://127.0.0.1:1/live'" in bench.told.text())
    assert "hunter2" not in bench.told.text()
    assert bench.told.text().count("cannot be used") == 1


@given(st.lists(st.floats(0.001, 0.2), max_size=80), st.floats(1, 60))
def test_the_pace_is_never_faster_than_asked_for(pauses: list[float], fps: float) -> None:
    pace, now, taken = Pace(fps), 0.0, []
    for pause in pauses:
        now += pause
        if pace.lets_through(now):
            taken.append(now)
    assert len(taken) <= now * fps + 2
    if pauses:
        assert taken[0] == pauses[0]


def test_a_stream_whose_time_begins_anew_goes_on() -> None:
    pace = Pace(10)
    assert [pace.lets_through(seconds) for seconds in (50.0, 50.05, 50.1, 0.0, 0.05, 0.1)] == [
        *(True, False, True),
        *(True, False, True),
    ]
