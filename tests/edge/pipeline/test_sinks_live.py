"""Sinks against real receivers, brokers and commands."""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_components.contract.pipeline import MqttSink
from edge_components.pipeline.endpoints import Endpoint
from edge_components.pipeline.reports import Reports, Silence
from edge_components.pipeline.sinks.http import Verdict, judge
from edge_components.pipeline.sinks.mqtt import MqttWriter
from edge_components.runtime.metrics import Metrics


def numbers(receiver: Any) -> list[str]:
    return [found["reading"] for found in receiver.taken]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED),
        (202, Verdict.DELIVERED),
        (400, Verdict.REFUSED),
        (422, Verdict.REFUSED),
        (401, Verdict.AGAIN),
        (404, Verdict.AGAIN),
        (429, Verdict.AGAIN),
        (503, Verdict.AGAIN),
        (301, Verdict.AGAIN),
    ],
)
def test_what_a_status_means(status: int, verdict: Verdict) -> None:
    assert judge(status) is verdict


def http_sink(url: str, **more: Any) -> dict[str, Any]:
    return {"kind": "http", "url": url, "retry_s": 0.02, "max_retry_s": 0.05, **more}


def test_a_receiver_that_is_away_gets_everything_in_order_when_it_is_back(
    bench: Any, parts: Any, make_model: Any, receiver: Any, until: Any
) -> None:
    receiver.decide = lambda _: 503
    bench.use(
        {"source": parts.inbox, "sink": http_sink(receiver.url, max_tries=1000)}, make_model()
    )
    for number in range(3):
        bench.drop(f"{number}.json", [1, 2, 3, 4])
        until(lambda number=number: bench.metrics.pipeline_readings == number + 1)
    until(lambda: len(receiver.headers) >= 3)
    receiver.decide = lambda _: 200
    until(lambda: len(receiver.taken) == 3)
    assert numbers(receiver) == ["0.json", "1.json", "2.json"]
    until(lambda: bench.counted("http_delivered") == 3)
    assert bench.told.text().count("answered 503") == 1


def test_an_answer_that_is_refused_or_fails_too_often_is_counted_and_holds_up_nobody(
    bench: Any, parts: Any, make_model: Any, receiver: Any, until: Any
) -> None:
    statuses = {"0.json": 422, "1.json": 500}
    receiver.decide = lambda found: statuses.get(found["reading"], 200)
    bench.use({"source": parts.inbox, "sink": http_sink(receiver.url, max_tries=2)}, make_model())
    for number in range(3):
        bench.drop(f"{number}.json", [1, 2, 3, 4])
        until(lambda number=number: bench.metrics.pipeline_readings == number + 1)
    until(lambda: numbers(receiver) == ["2.json"])
    assert bench.counted("http_refused") == 1
    assert bench.counted("http_given_up") == 1


@pytest.mark.parametrize("when_full", ["drop_oldest", "block"])
def test_a_full_sink_drops_the_oldest_or_holds_the_pipeline(
    bench: Any, parts: Any, make_model: Any, receiver: Any, until: Any, when_full: str
) -> None:
    receiver.decide = lambda _: 503
    sink = http_sink(receiver.url, max_tries=1000, max_waiting=2, when_full=when_full)
    bench.use({"source": parts.inbox, "sink": sink}, make_model())
    for number in range(4):
        bench.drop(f"{number}.json", [1, 2, 3, 4])
        until(lambda number=number: len(bench.told.sources) == number + 1)
    if when_full == "drop_oldest":
        until(lambda: bench.counted("http_dropped_oldest") == 2)
    else:
        until(lambda: bench.counted("delivery_failed") >= 1)
    receiver.decide = lambda _: 200
    expected = (
        ["2.json", "3.json"] if when_full == "drop_oldest" else [f"{n}.json" for n in range(4)]
    )
    until(lambda: numbers(receiver)[-len(expected) :] == expected)
    assert when_full == "block" or len(receiver.taken) <= 3


def test_the_devices_endpoint_wins_and_brings_its_token(
    bench: Any, parts: Any, make_model: Any, receiver: Any, until: Any
) -> None:
    token = bench.folder / "token"
    token.write_text("secret-of-the-site\n")
    sink = http_sink("http://127.0.0.1:1/elsewhere", endpoint="site")
    endpoints = {"site": {"url": receiver.url, "token_file": str(token)}}
    bench.use({"source": parts.inbox, "sink": sink}, make_model(), endpoints=endpoints)
    bench.drop("a.json", [1, 2, 3, 4])
    until(lambda: receiver.taken)
    assert receiver.headers[0]["Authorization"] == "Bearer secret-of-the-site"


class Subscriber:
    def __init__(self, port: int, topic: str, until: Any) -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self._subscribed = 0
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="reader", protocol=mqtt.MQTTv5
        )
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda *_: client.subscribe(topic, qos=1)
        client.on_subscribe = self._on_subscribe
        client.on_message = lambda _c, _u, message: self.messages.append(message)
        client.connect("127.0.0.1", port)
        client.loop_start()
        until(lambda: self._subscribed)

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed += 1

    @property
    def readings(self) -> list[str]:
        return [json.loads(message.payload)["reading"] for message in self.messages]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_answers_are_published_also_those_from_before_the_broker_was_there(
    bench: Any, parts: Any, make_model: Any, broker: Any, until: Any
) -> None:
    sink = {"kind": "mqtt", "url": broker.url, "topic": "site/answers", "retain": True}
    bench.use({"source": parts.inbox, "sink": sink}, make_model())
    bench.drop("0.json", [1, 2, 3, 4])
    until(lambda: "cannot be reached" in bench.told.text())
    broker.start()
    until(lambda: bench.counted("mqtt_delivered") == 1)
    reader = Subscriber(broker.port, "site/answers", until)
    until(lambda: reader.readings == ["0.json"])  # retained
    for number in range(1, 40):
        bench.drop(f"{number}.json", [1, 2, 3, 4])
    until(lambda: len(set(reader.readings)) == 40)
    reader.close()
    assert reader.messages[-1].properties is not None
    assert reader.messages[-1].properties.ContentType == "application/json"


class DeafBroker:
    """Takes connections, and reads from the second one on only."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.let_go = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._listener:
            first = self._welcome()
            self.let_go.wait(30)
            first.close()
            with self._welcome() as second:
                while second.recv(1 << 20):
                    pass

    def _welcome(self) -> socket.socket:
        connection, _ = self._listener.accept()
        connection.recv(4096)
        connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK: success, no properties
        return connection


def test_answers_at_most_once_go_on_after_a_connection_that_died_with_some(until: Any) -> None:
    broker = DeafBroker()
    metrics = Metrics()
    counted = metrics.pipeline
    sink = MqttSink(url=f"mqtt://127.0.0.1:{broker.port}", topic="t", qos=0)
    writer = MqttWriter(sink, Endpoint(url=sink.url), Reports(Silence(), metrics))
    for _ in range(60):
        writer.write("large", {"text": "x" * (1 << 20)})
    until(lambda: writer._sent == 16)  # as many as may be on their way, and the broker is deaf
    broker.let_go.set()
    until(lambda: counted["mqtt_delivered"] + counted["mqtt_lost"] == 60)
    assert counted["mqtt_lost"] >= 1
    writer.close(5.0)


SCRIPT = """
import json, os, sys
document = json.load(sys.stdin)
with open(sys.argv[1], "a") as log:
    print(os.environ["EDGE_ALARM_STATE"], os.environ["EDGE_ALARM"], document["reading"], file=log)
"""


@pytest.fixture
def command(tmp_path: Path) -> Any:
    script, log = tmp_path / "alarm.py", tmp_path / "alarm.log"
    script.write_text(SCRIPT)

    class Command:
        words = (sys.executable, str(script), str(log))

        @property
        def lines(self) -> list[str]:
            return log.read_text().splitlines() if log.exists() else []

    return Command()


ALARM = {
    "kind": "alarm",
    "name": "press-stop",
    "when": 'label == "crack" and score >= 5',
    "clear": 'label == "fine"',
    "command": "shutdown",
    "clear_command": "shutdown",
}


def test_an_alarm_runs_the_devices_command_once_until_it_is_cleared(
    bench: Any, parts: Any, make_model: Any, command: Any, receiver: Any, until: Any
) -> None:
    (bench.folder / "labels.txt").write_text("fine\ncrack\n")
    pipeline = {
        "source": parts.inbox,
        "postprocess": [{"op": "argmax", "labels": "labels.txt"}],
        "sink": [parts.answers, {**ALARM, "post": http_sink(receiver.url)}],
    }
    bench.use(pipeline, make_model(), commands={"shutdown": command.words})
    readings = {"a": [9, 0, 0, 0], "b": [0, 4, 0, 0], "c": [0, 9, 0, 0], "d": [0, 8, 0, 0]}
    for name, values in {**readings, "e": [1, 0, 0, 0], "f": [0, 7, 0, 0]}.items():
        bench.drop(f"{name}.json", values)
        bench.answer(f"{name}.json")
    until(lambda: len(command.lines) == 3)
    assert sorted(command.lines) == sorted(
        ["raised press-stop c.json", "cleared press-stop e.json", "raised press-stop f.json"]
    )
    until(lambda: len(receiver.taken) == 3)
    assert [found["state"] for found in receiver.taken] == ["raised", "cleared", "raised"]
    assert receiver.taken[0]["answer"]["label"] == "crack"
    raised = [given for body, given in bench.told.events if "is raised" in body]
    assert [given["severity"] for given in raised] == [17, 17]


@pytest.mark.parametrize(
    ("words", "timeout_s", "why"),
    [
        (("/no/such/program",), 20, "cannot be run"),
        ((sys.executable, "-c", "raise SystemExit(3)"), 20, "exit code 3"),
        ((sys.executable, "-c", "while True: pass"), 0.3, "took longer than"),
    ],
)
def test_a_command_that_fails_is_an_event_and_the_pipeline_goes_on(
    bench: Any, parts: Any, make_model: Any, until: Any, words: Any, timeout_s: float, why: str
) -> None:
    alarm = {"kind": "alarm", "name": "a", "when": "index >= 0", "command": "c"}
    pipeline = {
        "source": parts.inbox,
        "postprocess": [{"op": "argmax"}],
        "sink": [{**alarm, "command_timeout_s": timeout_s}, parts.answers],
    }
    bench.use(pipeline, make_model(), commands={"c": words})
    bench.drop("a.json", [1, 2, 3, 4])
    bench.answer("a.json")
    until(lambda: why in bench.told.text())
    assert bench.counted("alarm_commands_failed") == 1


def test_keys_have_alarms_of_their_own(bench: Any, parts: Any, make_model: Any, until: Any) -> None:
    alarm = {"kind": "alarm", "name": "hot", "when": "value > 70", "votes": [2, 2], "per_key": True}
    pipeline = {"source": parts.inbox, "postprocess": [{"op": "value"}], "sink": [alarm]}
    bench.use(pipeline, make_model())
    for number, key in enumerate("abab"):
        bench.drop(f"{number}.json", {"key": key, "values": [90, 0, 0, 0]})
        until(lambda number=number: bench.metrics.pipeline_readings == number + 1)
    keys = [given["key"] for body, given in bench.told.events if "is raised" in body]
    assert keys == ["a", "b"]
