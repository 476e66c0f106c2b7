"""Telemetry over MQTT 5, against a real mosquitto."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_components.contract.telemetry import TelemetryRecord, from_otlp
from edge_components.runtime.process import allow_files
from edge_components.telemetry.mqtt_sender import MqttSender, classify
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.sender import Outcome, SenderError, UplinkSettings
from edge_components.telemetry.uplink import Uplink

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
TOPIC = "site/lot-7/telemetry"
Make = Callable[..., TelemetryRecord]

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="needs mosquitto (apt-get install mosquitto)"
)


class Broker:
    """A mosquitto that keeps sessions on disk, on a port of its own."""

    def __init__(self, folder: Path, until: Any) -> None:
        self._folder = folder
        self._until = until
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"mqtt://127.0.0.1:{self.port}/{TOPIC}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, more: str = "allow_anonymous true\n") -> None:
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\n{more}"
            f"persistence true\npersistence_location {self._folder}/\nuser root\n"
        )
        assert MOSQUITTO is not None
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._until(self._answers)

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(10)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Subscriber:
    """Takes what is published, over reconnects, in a session that the broker keeps."""

    def __init__(self, port: int, until: Any) -> None:
        self.taken: list[TelemetryRecord] = []
        self.messages: list[mqtt.MQTTMessage] = []
        self.subscribed = 0
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="reader", protocol=mqtt.MQTTv5
        )
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda *_: client.subscribe(TOPIC, qos=1)
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 600
        client.connect("127.0.0.1", port, clean_start=False, properties=session)
        client.loop_start()
        until(lambda: self.subscribed)

    @property
    def ids(self) -> set[str]:
        return {record.id for record in self.taken}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_subscribe(self, *_: Any) -> None:
        self.subscribed += 1

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.messages.append(message)
        self.taken += from_otlp(gzip.decompress(message.payload))


@pytest.fixture
def broker(tmp_path: Path, until: Any) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    found = Broker(folder, until)
    yield found
    found.stop(kill=True)


@pytest.fixture
def uplink(queue: TelemetryQueue, broker: Broker) -> Iterator[Uplink]:
    settings = UplinkSettings(url=broker.url, interval_s=0.05, read_timeout_s=3.0)
    found = Uplink(queue, settings)
    yield found
    found.stop()


@needs_mosquitto
def test_batches_arrive_as_otlp_and_say_what_they_are(
    broker: Broker,
    queue: TelemetryQueue,
    uplink: Uplink,
    record: Make,
    until: Any,
    unnumbered: Any,
) -> None:
    broker.start()
    reader = Subscriber(broker.port, until)
    sent = [record(number) for number in range(1200)]
    queue.put(sent)
    uplink.start()
    until(lambda: len(queue) == 0 and len(reader.taken) == 1200)
    reader.close()
    assert unnumbered(reader.taken) == sent
    message = reader.messages[0]
    assert (message.topic, message.qos) == (TOPIC, 1)
    assert message.properties is not None
    assert message.properties.ContentType == "application/json"
    assert message.properties.UserProperty == [("content-encoding", "gzip")]


@needs_mosquitto
def test_a_device_with_a_thousand_connections_sends_too(
    broker: Broker, uplink: Uplink, queue: TelemetryQueue, record: Make, until: Any
) -> None:
    broker.start()
    reader = Subscriber(broker.port, until)
    allow_files(2048)
    with contextlib.ExitStack() as others:
        for _ in range(1100):
            others.enter_context(Path(os.devnull).open())
        uplink.start()
        for number in range(3):
            queue.put([record(number)])
            until(lambda: len(queue) == 0)
    assert uplink.failures == 0
    until(lambda: reader.ids == {"r0", "r1", "r2"})
    reader.close()


@needs_mosquitto
@pytest.mark.parametrize("kill", [False, True])
def test_a_broker_that_goes_and_comes_gets_everything(
    broker: Broker, queue: TelemetryQueue, uplink: Uplink, record: Make, until: Any, kill: bool
) -> None:
    uplink.start()
    queue.put([record(1)])
    until(lambda: uplink.failures >= 1)  # no broker yet
    broker.start()
    reader = Subscriber(broker.port, until)
    until(lambda: reader.ids == {"r1"}, seconds=30)
    broker.stop(kill=kill)
    queue.put([record(number) for number in range(2, 600)])
    until(lambda: uplink.failures >= 1)
    assert len(queue) == 598
    broker.start()
    until(lambda: reader.subscribed == 2, seconds=30)
    until(lambda: len(queue) == 0 and len(reader.ids) == 599, seconds=30)
    reader.close()


@needs_mosquitto
def test_records_wait_until_somebody_subscribes(
    broker: Broker, queue: TelemetryQueue, uplink: Uplink, record: Make, until: Any
) -> None:
    broker.start()
    queue.put([record(1)])
    uplink.start()
    until(lambda: "subscribers" in uplink.last_error)
    assert len(queue) == 1
    reader = Subscriber(broker.port, until)
    until(lambda: reader.ids == {"r1"} and len(queue) == 0, seconds=30)
    reader.close()


@needs_mosquitto
def test_a_broker_that_wants_a_password_is_an_error_that_says_so(
    broker: Broker, queue: TelemetryQueue, uplink: Uplink, record: Make, until: Any
) -> None:
    broker.start("allow_anonymous false\n")
    queue.put([record(1)])
    uplink.start()
    until(lambda: "Not authorized" in uplink.last_error)
    assert len(queue) == 1


@needs_mosquitto
def test_a_batch_larger_than_the_broker_takes_is_halved(
    broker: Broker, queue: TelemetryQueue, uplink: Uplink, record: Make, until: Any
) -> None:
    broker.start("allow_anonymous true\nmax_packet_size 4000\n")
    reader = Subscriber(broker.port, until)
    noise = random.Random(3)
    queue.put([record(number, body=noise.randbytes(20).hex()) for number in range(1000)])
    uplink.start()
    until(lambda: len(queue) == 0 and len(reader.ids) == 1000)
    reader.close()
    assert not queue.drops
    assert all(len(message.payload) < 4000 for message in reader.messages)
    assert len(reader.messages) > 8


def mutual_tls(authority: Any) -> str:
    certificate, key = authority.issue("broker")
    return (
        f"cafile {authority.path}\ncertfile {certificate}\nkeyfile {key}\n"
        "require_certificate true\nuse_identity_as_username true\n"
    )


def secured(broker: Broker, authority: Any, **more: Any) -> UplinkSettings:
    return UplinkSettings(
        url=broker.url.replace("mqtt://", "mqtts://"),
        ca=str(authority.path),
        interval_s=0.05,
        read_timeout_s=3.0,
        **more,
    )


@needs_mosquitto
def test_the_client_certificate_opens_a_broker_that_wants_one_and_names_the_device(
    broker: Broker,
    queue: TelemetryQueue,
    record: Make,
    until: Any,
    authority: Any,
    tmp_path: Path,
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"user lot-7\ntopic write {TOPIC}\n")  # nobody else may write
    acl.chmod(0o600)
    log = tmp_path / "broker" / "broker.log"
    broker.start(f"{mutual_tls(authority)}acl_file {acl}\nlog_dest file {log}\nlog_type all\n")
    certificate, key = authority.issue("lot-7")
    settings = secured(broker, authority, certificate=str(certificate), key=str(key))
    found = Uplink(queue, settings)
    queue.put([record(1)])
    found.start()
    # Nobody subscribes here: the broker says so, once it has let the device in.
    until(lambda: "subscribers" in found.last_error)
    found.stop()
    assert "u'lot-7'" in log.read_text()
    assert len(queue) == 1


@needs_mosquitto
def test_without_the_certificate_the_broker_is_closed_and_nothing_is_lost(
    broker: Broker, queue: TelemetryQueue, record: Make, until: Any, authority: Any
) -> None:
    broker.start(mutual_tls(authority))
    found = Uplink(queue, secured(broker, authority))
    queue.put([record(1)])
    found.start()
    until(lambda: found.failures >= 1)
    found.stop()
    assert (len(queue), found.sent) == (1, 0)


def test_a_certificate_that_is_not_there_is_named_and_nothing_is_lost(
    queue: TelemetryQueue, record: Make, until: Any, authority: Any
) -> None:
    settings = UplinkSettings(
        url="mqtts://127.0.0.1:1/t",
        ca=str(authority.path),
        certificate="/none.pem",
        key="/none.key",
        interval_s=0.05,
    )
    found = Uplink(queue, settings)
    queue.put([record(1)])
    found.start()
    until(lambda: "'/none.pem'" in found.last_error)
    found.stop()
    assert len(queue) == 1


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (0x00, Outcome.DELIVERED),
        (0x10, Outcome.KEPT),
        (0x80, Outcome.KEPT),
        (0x87, Outcome.KEPT),
        (0x95, Outcome.POISON),
        (0x97, Outcome.KEPT),
        (0x99, Outcome.POISON),
    ],
)
def test_what_a_reason_code_means(reason: int, outcome: Outcome) -> None:
    assert classify(reason) is outcome


def test_a_password_that_is_not_escaped_is_refused_without_a_piece_of_it() -> None:
    with pytest.raises(SenderError, match="%XX") as caught:
        MqttSender(UplinkSettings(url="mqtt://lot-7:hun/ter2@broker/topic"))
    assert "hun" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("url", ["mqtt:///topic", "mqtt://broker/a/%23", "mqtt://broker/+/b"])
def test_an_address_without_broker_or_with_a_wildcard_is_refused(url: str) -> None:
    with pytest.raises(SenderError):
        MqttSender(UplinkSettings(url=url))
