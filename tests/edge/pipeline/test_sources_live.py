"""Sources against real clients, brokers, pipes and growing files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paho.mqtt import publish
from paho.mqtt.client import MQTTv5
from PIL import Image

from edge_components.contract.pipeline import SeriesSource, StdinSource
from edge_components.pipeline.reading import Outcome, Reading
from edge_components.pipeline.sources.series import SeriesFeed
from edge_components.pipeline.sources.stdin import StdinFeed


def png(values: list[int]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.array([values], np.uint8)).save(out, "PNG")
    return out.getvalue()


def npy(values: list[float]) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(values, np.float32))
    return out.getvalue()


PUSH: dict[str, Any] = {
    "source": {"kind": "push"},
    "preprocess": [{"op": "reshape", "shape": [-1]}, {"op": "scale", "factor": 1}],
}


def test_a_client_pushes_readings_of_every_kind_and_gets_the_answers(
    serve: Any, make_model: Any
) -> None:
    served = serve("--model", make_model(2.0), pipeline=PUSH)
    for body in (png([1, 2, 3, 4]), npy([1, 2, 3, 4]), b"[1, 2, 3, 4]", b"1,2,3,4\n"):
        status, found = served.request("POST", "/pipeline/push?name=r7&key=lane-1", body)
        assert status == 200, found
        (answer,) = found["answers"]
        assert (found["reading"], answer["key"]) == ("r7", "lane-1")
        assert answer["answer"]["outputs"]["y"] == [[2, 4, 6, 8]]
    status, found = served.request("POST", "/pipeline/push", b"\x89PNG is it not")
    assert (status, "not a whole image" in found["error"]) == (422, True)
    assert served.request("GET", "/pipeline/push")[0] == 405


def test_a_push_obeys_the_servers_token(serve: Any, make_model: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    served = serve("--model", make_model(), "--token-file", token, pipeline=PUSH)
    assert served.request("POST", "/pipeline/push", b"[1,2,3,4]")[0] == 401
    headers = {"Authorization": "Bearer 0123456789abcdef"}
    assert served.request("POST", "/pipeline/push", b"[1,2,3,4]", headers)[0] == 200


def test_a_push_without_a_pipeline_says_so(serve: Any, make_model: Any) -> None:
    served = serve("--model", make_model())
    status, found = served.request("POST", "/pipeline/push", b"[1]")
    assert (status, found["error"]) == (404, "no pipeline with a push source is active")


SLOW = """
import time

def slow(value, context):
    time.sleep(float(context.options.get("seconds", 0.3)))
    return value
"""


def test_more_pushes_than_the_queue_holds_are_told_to_come_again(
    serve: Any, make_model: Any, steps_module: Any, until: Any
) -> None:
    name = steps_module(SLOW)
    steps = [{"op": "user", "name": "slow", "timeout_s": 10}, *PUSH["preprocess"]]
    served = serve(
        *("--model", make_model()),
        pipeline={**PUSH, "preprocess": steps, "queue": {"policy": "block", "length": 2}},
        device=f'[steps]\nslow = "{name}:slow"\n',
    )
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(served.request, "POST", "/pipeline/push", b"[1,2,3,4]") for _ in range(8)
        ]
        statuses = sorted(one.result()[0] for one in asked)
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 2
    assert served.counter("blocked") == statuses.count(503)


def test_accepted_readings_are_answered_later_and_large_ones_are_refused(
    serve: Any, make_model: Any, until: Any
) -> None:
    source = {"kind": "push", "reply": "accepted", "max_bytes": 100}
    sink = {"kind": "directory", "path": "answers"}
    served = serve("--model", make_model(), pipeline={**PUSH, "source": source, "sink": sink})
    status, _ = served.request("POST", "/pipeline/push?name=../../etc/x", b"[1,2,3,4]")
    assert status == 202
    until((served.state / "answers" / "_._.._etc_x.json").exists)
    assert served.request("POST", "/pipeline/push", b"[" + b"1," * 60 + b"1]")[0] == 413


def test_a_push_that_takes_too_long_is_given_up(
    serve: Any, make_model: Any, steps_module: Any
) -> None:
    name = steps_module(SLOW)
    served = serve(
        *("--model", make_model()),
        pipeline={
            "source": {"kind": "push", "timeout_s": 0.2},
            "preprocess": [
                {"op": "user", "name": "slow", "timeout_s": 5, "options": {"seconds": 1}}
            ],
        },
        device=f'[steps]\nslow = "{name}:slow"\n',
    )
    status, found = served.request("POST", "/pipeline/push", b"[1,2,3,4]")
    assert (status, found["error"]) == (504, "no answer within 0.2 s")


def pipe(*arguments: str | Path, given: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edge_components.runtime.main", "pipe", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)


def answers(done: subprocess.CompletedProcess[bytes]) -> list[Any]:
    return [json.loads(line)["answer"] for line in done.stdout.splitlines()]


def test_a_shell_pipe_answers_lines_and_tells_of_bad_ones(make_model: Any, tmp_path: Path) -> None:
    steps = tmp_path / "p.json"
    steps.write_text(json.dumps({"postprocess": [{"op": "argmax", "labels": "l.txt"}]}))
    (tmp_path / "l.txt").write_text("a\nb\nc\nd\n")
    done = pipe(
        *("--model", make_model(), "--pipeline", steps), given=b"[1,2,9,4]\n\n9,1,1,1\nbad\n1,1,1,5"
    )
    assert [found["label"] for found in answers(done)] == ["c", "a", "d"]
    assert done.returncode == 3
    assert b"reading 'line-3' failed" in done.stderr


@pytest.mark.parametrize("framing", ["frames", "whole"])
def test_a_shell_pipe_takes_images(make_model: Any, tmp_path: Path, framing: str) -> None:
    steps = tmp_path / "p.json"
    steps.write_text(json.dumps({"preprocess": PUSH["preprocess"]}))
    body = png([1, 2, 3, 4])
    given = body if framing == "whole" else 2 * (len(body).to_bytes(4, "big") + body)
    done = pipe(
        *("--model", make_model(2.0), "--pipeline", steps, "--framing", framing), given=given
    )
    assert done.returncode == 0, done.stderr
    count = 1 if framing == "whole" else 2
    assert answers(done) == [{"outputs": {"y": [[2, 4, 6, 8]]}}] * count


def test_a_shell_pipe_whose_reader_leaves_ends(make_model: Any) -> None:
    command = [sys.executable, "-m", "edge_components.runtime.main", "pipe"]
    command += ["--model", str(make_model())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"1,2,3,4\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"1,2,3,4\n")
        process.stdin.flush()
        assert process.wait(30) == 0
        process.stdin.close()


def test_a_shell_pipe_without_a_model_says_what_to_give() -> None:
    done = pipe(given=b"")
    assert done.returncode == 1
    assert b"give a model, a version or a pipeline" in done.stderr


def feed_stdin(data: bytes, **source: Any) -> list[Any]:
    """Give bytes to a feed through a real pipe; return the bodies that it brings."""
    reading, writing = os.pipe()
    bodies: list[Any] = []
    thread = threading.Thread(target=lambda: (os.write(writing, data), os.close(writing)))
    thread.start()
    feed = StdinFeed(StdinSource(**source), reading)
    feed.run(lambda one: bodies.append(one.body) or True, threading.Event())
    thread.join()
    os.close(reading)
    return bodies


def test_a_line_or_frame_that_is_too_long_or_cut_is_a_failed_reading() -> None:
    assert feed_stdin(b"ab\n" + b"x" * 99 + b"\ncd", max_bytes=10)[::2] == [b"ab", b"cd"]
    whole = b"\0\0\0\2ab"
    *good, bad = feed_stdin(whole * 2 + whole[:5], framing="frames")
    assert good == [b"ab", b"ab"]
    assert "ends within a frame" in str(bad)


class Series:
    """A series feed on a thread, whose readings are settled by hand."""

    def __init__(self, folder: Path, until: Any, **source: Any) -> None:
        self.path = folder / "log.csv"
        self.readings: list[Reading] = []
        self.until = until
        self._folder = folder
        self._source = SeriesSource(path="log.csv", poll_s=0.01, **source)
        self._stop = threading.Event()

    def start(self) -> None:
        feed = SeriesFeed(self._source, self.path, self._folder / "position")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=feed.run, args=(self._take, self._stop))
        self._thread.start()

    def _take(self, reading: Reading) -> bool:
        self.readings.append(reading)
        return True

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def values(self, count: int) -> list[Any]:
        """The next readings, each answered."""
        self.until(lambda: len(self.readings) >= count)
        taken, self.readings = self.readings[:count], self.readings[count:]
        for one in taken:
            one.finish(Outcome.ANSWERED)
        return [
            (one.key, one.body.tolist()) if isinstance(one.body, np.ndarray) else str(one.body)
            for one in taken
        ]

    def append(self, text: str) -> None:
        with self.path.open("a") as stream:
            stream.write(text)


@pytest.fixture
def series(tmp_path: Path, until: Any) -> Any:
    made: list[Series] = []

    def make(**source: Any) -> Series:
        found = Series(tmp_path, until, **source)
        made.append(found)
        return found

    yield make
    for one in made:
        one.stop()


def test_a_log_is_followed_by_column_and_key_over_rotation_and_restart(series: Any) -> None:
    log = series(columns=("temp", "rpm"), key="pump")
    log.append("time,pump,rpm,temp\n0,a,100,20.5\n1,b,")
    log.start()
    assert log.values(1) == [("a", [20.5, 100.0])]
    log.append("90,21\nbroken\n")
    first, second = log.values(2)
    assert first == ("b", [21.0, 90.0])
    assert "columns, the header has 4" in second
    log.stop()
    log.append("2,a,80,22\n")
    log.start()
    assert log.values(1) == [("a", [22.0, 80.0])]
    log.path.rename(log.path.with_suffix(".1"))
    log.append("temp,rpm,pump\n23,70,a\n")
    assert log.values(1) == [("a", [23.0, 70.0])]


def test_lines_that_were_not_answered_come_again(series: Any) -> None:
    log = series(header=False)
    log.append("1,2\n3,4\n5,6\n")
    log.start()
    log.until(lambda: len(log.readings) == 3)
    log.readings[1].finish(Outcome.ANSWERED)  # the first is not
    log.readings.clear()
    log.stop()
    log.start()
    assert log.values(3) == [("", [1.0, 2.0]), ("", [3.0, 4.0]), ("", [5.0, 6.0])]


def test_json_lines_and_a_beginning_at_the_end(series: Any) -> None:
    log = series(format="jsonl", begin="end", key="k", columns=("v",))
    log.append('{"k": "old", "v": 1}\n')
    log.start()
    log.until(lambda: log.readings or log.append('{"k": "new", "v": 2}\n'))
    assert log.values(1) == [("new", [2.0])]


def test_messages_are_readings_and_come_again_until_they_are_answered(
    bench: Any, parts: Any, make_model: Any, broker: Any, until: Any
) -> None:
    broker.start()
    source = {"kind": "mqtt", "url": broker.url, "topic": "line/+/sensor"}
    pipeline = {"source": source, "sink": parts.answers, "postprocess": [{"op": "argmax"}]}
    bench.use(pipeline, make_model())

    def send(topic: str, payload: bytes) -> None:
        publish.single(topic, payload, qos=1, port=broker.port, protocol=MQTTv5)

    def found() -> dict[str, Any]:
        folder = bench.folder / "answers"
        files = folder.glob("*.json") if folder.exists() else ()
        read = [json.loads(path.read_text()) for path in files]
        return {one["key"]: one["answer"]["index"] for one in read}

    def arrive(topic: str, payload: bytes, index: int) -> None:
        def there() -> bool:
            if topic not in found():
                send(topic, payload)
            return found().get(topic) == index

        until(there)

    arrive("line/1/sensor", b"[1, 9, 1, 1]", 1)
    broker.stop()
    until(lambda: "connection to the broker is lost" in bench.told.text())
    broker.start()
    arrive("line/2/sensor", b"1,1,9,1", 2)
    send("line/3/sensor", b"{ broken")
    until(lambda: bench.metrics.errors["pipeline_reading"] == 1)


def test_a_device_that_is_away_gets_its_messages_when_it_is_back(
    bench: Any, parts: Any, make_model: Any, broker: Any, until: Any, tmp_path: Path
) -> None:
    broker.start()
    source = {"kind": "mqtt", "url": broker.url, "topic": "t", "client_id": "press-7"}
    sink = {"kind": "directory", "path": "answers"}
    runner = bench.use({"source": source, "sink": sink}, make_model())

    def published(number: int) -> None:
        payload = json.dumps([number] * 4).encode()
        publish.single("t", payload, qos=1, port=broker.port, protocol=MQTTv5)

    def numbers() -> set[float]:
        folder = bench.folder / "answers"
        files = list(folder.glob("*.json")) if folder.exists() else []
        read = [json.loads(path.read_text()) for path in files]
        return {one["answer"]["outputs"]["y"][0][0] for one in read}

    def first() -> bool:
        published(1)
        return 1 in numbers()

    until(first)
    runner.stop()
    for number in (2, 3, 4):
        published(number)
    bench._runner = None
    bench.use({"source": source, "sink": {**sink, "path": "answers2"}}, make_model())
    later = bench.folder / "answers2"
    until(lambda: later.exists() and len(list(later.glob("*.json"))) >= 3)
    read = [json.loads(path.read_text()) for path in later.glob("*.json")]
    assert {2, 3, 4} <= {one["answer"]["outputs"]["y"][0][0] for one in read}


@pytest.mark.parametrize("side", ["source", "sink"])
def test_a_broker_that_refuses_is_told_once_and_tried_again(
    bench: Any, parts: Any, make_model: Any, broker: Any, until: Any, side: str
) -> None:
    broker.start("allow_anonymous false\n")
    both: dict[str, Any] = {"source": parts.inbox, "sink": parts.answers}
    both[side] = {"kind": "mqtt", "url": broker.url, "topic": "t"}
    bench.use(both, make_model())
    if side == "sink":
        bench.drop("a.json", [1, 2, 3, 4])
    until(lambda: "refuses: Not authorized" in bench.told.text())
    broker.stop()
    broker.start()
    if side == "sink":
        until(lambda: bench.counted("mqtt_delivered") == 1)
    else:

        def arrived() -> bool:
            publish.single("t", b"[1,2,3,4]", qos=1, port=broker.port, protocol=MQTTv5)
            return bool(bench.metrics.pipeline_readings)

        until(arrived)
    assert bench.told.text().count("refuses") == 1
