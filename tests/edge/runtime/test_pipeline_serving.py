"""The pipeline in a real runtime: pictures in, answers out, across a change of version."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_components.contract.telemetry import TelemetryRecord

PIPELINE = {
    "source": {"kind": "directory", "path": "inbox", "poll_s": 0.05, "pattern": "*"},
    "preprocess": [
        {"op": "grayscale"},
        {"op": "resize", "size": [2, 2], "method": "nearest"},
        {"op": "scale", "factor": 0.1},
        {"op": "reshape", "shape": [4]},
    ],
    "postprocess": [{"op": "argmax", "labels": "labels.txt"}],
    "sink": {"kind": "directory", "path": "answers"},
}
LABELS = {"edgectl/assets/labels.txt": b"north\neast\nsouth\nwest\n"}


@pytest.fixture
def versions(make_version: Any, build: Any) -> Any:
    def make(number: int, factor: float, **more: Any) -> Path:
        pipeline = {**PIPELINE, **more}
        folder: Path = make_version(
            number,
            {"fp32": lambda path: build.scaling(path, factor)},
            pipeline=pipeline,
            files=LABELS,
        )
        return folder

    return make


def picture(inbox: Path, name: str, best: int) -> None:
    pixels = np.zeros(4, np.uint8)
    pixels[best] = 200
    inbox.mkdir(exist_ok=True)
    part = inbox / f".{name}.part"
    Image.fromarray(pixels.reshape(2, 2)).save(part, "PNG")
    part.rename(inbox / name)


def answer(state: Path, name: str, build: Any) -> Any:
    path = state / "answers" / f"{name}.json"
    build.until(path.exists)
    return json.loads(path.read_text())


def events(state: Path) -> list[TelemetryRecord]:
    database = sqlite3.connect(state / "telemetry.db", timeout=10)
    try:
        rows = database.execute("SELECT body FROM records ORDER BY seq").fetchall()
    finally:
        database.close()
    return [msgspec.msgpack.decode(row[0], type=TelemetryRecord) for row in rows]


def test_pictures_become_answers_and_follow_the_active_version(
    start: Any, versions: Any, build: Any
) -> None:
    served = start("--version-dir", versions(1, 1.0), "--precision", "fp32", "--device", "lot-7")
    state = served.socket_path.parent
    picture(state / "inbox", "a.png", 2)
    found = answer(state, "a.png", build)
    assert found["answer"] == {"label": "south", "index": 2, "score": 20.0}
    assert found["release"] == 1
    build.until((state / "inbox/done/a.png").exists)
    body = {"version_dir": str(versions(2, 3.0)), "precision": "fp32"}
    assert served.control("POST", "/control/activate", body)[0] == 200
    picture(state / "inbox", "b.png", 1)
    found = answer(state, "b.png", build)
    assert found["answer"] == {"label": "east", "index": 1, "score": 60.0}
    assert found["release"] == 2
    build.until(lambda: served.metric("edge_pipeline_readings_total") == 2)
    build.until(lambda: [r for r in events(state) if r.attributes.get("source") == "pipeline"])


def test_a_broken_picture_is_set_aside_with_an_event_and_holds_up_nobody(
    start: Any, versions: Any, build: Any
) -> None:
    served = start("--version-dir", versions(1, 1.0), "--precision", "fp32")
    state = served.socket_path.parent
    inbox = state / "inbox"
    inbox.mkdir(exist_ok=True)
    (inbox / "0-broken.png").write_bytes(b"not a picture")
    (inbox / ".hidden.png").write_bytes(b"not yet")
    picture(inbox, "z.png", 3)
    assert answer(state, "z.png", build)["answer"]["label"] == "west"
    build.until((inbox / "failed/0-broken.png").exists)
    assert (inbox / ".hidden.png").exists()
    build.until(lambda: any("0-broken.png" in record.body for record in events(state)))
    assert served.metric('edge_errors_total{kind="pipeline_reading"}') == 1


def test_a_step_that_does_not_fit_the_model_leaves_inference_alone(
    start: Any, versions: Any, build: Any
) -> None:
    bad = versions(1, 2.0, preprocess=[{"op": "reshape", "shape": [2, 2]}])
    served = start("--version-dir", bad, "--precision", "fp32")
    state = served.socket_path.parent
    picture(state / "inbox", "a.png", 0)
    build.until((state / "inbox/failed/a.png").exists)
    assert served.infer([1.0, 2.0, 3.0, 4.0]) == [2.0, 4.0, 6.0, 8.0]


def test_a_missing_label_file_refuses_the_activation(start: Any, versions: Any) -> None:
    folder = versions(1, 2.0, postprocess=[{"op": "argmax", "labels": "other.txt"}])
    served = start()
    body = {"version_dir": str(folder), "precision": "fp32"}
    status, found = served.control("POST", "/control/activate", body)
    assert (status, found["reason"]) == (422, "bad-package")
    assert "other.txt" in found["detail"]


def test_pushes_are_answered_over_changes_of_version(start: Any, versions: Any, build: Any) -> None:
    more: dict[str, Any] = {"source": {"kind": "push"}, "preprocess": [], "postprocess": []}
    served = start("--version-dir", versions(1, 1.0, **more), "--precision", "fp32")
    build.until(lambda: served.request("POST", "/pipeline/push", b"[1,1,1,1]")[0] == 200)
    found: list[tuple[int, float]] = []
    stop = threading.Event()

    def push() -> None:
        while not stop.is_set():
            status, _, data = served.request("POST", "/pipeline/push", b"[1,1,1,1]")
            answers = json.loads(data).get("answers", [{}])
            outputs = answers[0].get("answer", {"outputs": {"y": [[0.0]]}})["outputs"]
            found.append((status, next(iter(outputs.values()))[0][0]))

    threads = [threading.Thread(target=push) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in (2, 3, 4):
        body = {"version_dir": str(versions(number, float(number), **more)), "precision": "fp32"}
        assert served.control("POST", "/control/activate", body)[0] == 200
        build.until(lambda number=number: any(value == number for _, value in found))
    stop.set()
    for thread in threads:
        thread.join(30)
    assert {status for status, _ in found} == {200}


def test_standard_input_is_left_to_the_supervisor(start: Any, versions: Any) -> None:
    served = start("--parent-pipe", stdin=subprocess.PIPE)
    folder = versions(1, 1.0, source={"kind": "stdin"})
    body = {"version_dir": str(folder), "precision": "fp32"}
    status, found = served.control("POST", "/control/activate", body)
    assert (status, found["reason"]) == (422, "bad-package")
    assert "belongs to the supervisor" in found["detail"]


def test_a_folder_that_cannot_be_made_is_an_event_and_inference_serves(
    start: Any, versions: Any, build: Any
) -> None:
    source = {**PIPELINE["source"], "path": "/proc/none/inbox"}  # type: ignore[dict-item]
    served = start("--version-dir", versions(1, 2.0, source=source), "--precision", "fp32")
    state = served.socket_path.parent
    build.until(lambda: any("cannot be used" in record.body for record in events(state)))
    assert served.infer([1.0, 1.0, 1.0, 1.0])[0] == 2.0
