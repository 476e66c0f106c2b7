"""The MQTT server, as clients of MQTT 5 and 3.1.1 meet it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from aws_cloud import FakeCloud
from aws_mqtt import WAIT_S, Device
from aws_pki import Authority
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgectl_aws_greengrass.emulator.broker.server import Broker

MakeDevice = Callable[..., Device]
V311 = MQTTProtocolVersion.MQTTv311


def _expiry(seconds: int) -> Properties:
    found = Properties(PacketTypes.CONNECT)
    found.SessionExpiryInterval = seconds
    return found


def test_a_message_reaches_subscribers_of_exact_and_wildcard_filters_once(
    device: MakeDevice,
) -> None:
    reader, writer = device("reader"), device("writer")
    assert [code.value for code in reader.subscribe("site/+/state", "site/#", "site/a/state")] == [
        1,
        1,
        1,
    ]
    assert writer.publish("site/a/state", {"on": True}).value == 0
    writer.publish("site/a/end", {})
    assert reader.next() == ("site/a/state", {"on": True})
    assert reader.next() == ("site/a/end", {})


def test_a_client_of_mqtt_3_1_1_is_served(device: MakeDevice, cloud: FakeCloud, until: Any) -> None:
    old = device("old", protocol=V311)
    old.subscribe("a/b")
    old.publish("a/b", {"n": 1})
    assert old.next() == ("a/b", {"n": 1})
    until(lambda: cloud.published == [("a/b", b'{"n": 1}', "old")])


def test_the_server_tells_its_limits_in_connack(device: MakeDevice) -> None:
    _, _, properties = device(connect=False).connect(keepalive=60)
    assert properties.MaximumQoS == 1
    assert properties.ReceiveMaximum == 100
    assert properties.MaximumPacketSize == 149_504
    assert properties.SubscriptionIdentifierAvailable == 0


def test_an_unknown_certificate_is_refused(
    broker: Broker, authority: Authority, cloud: FakeCloud
) -> None:
    stranger = Device(broker.port, authority.ca, authority.issue("stranger"), "core-1")
    assert stranger.connect()[0].value == 0x87
    stranger.close()


def test_an_inactive_certificate_is_refused(
    broker: Broker, authority: Authority, cloud: FakeCloud
) -> None:
    files = authority.issue("revoked")
    cloud.things.add(files[0].read_bytes(), "core-1", active=False)
    revoked = Device(broker.port, authority.ca, files, "core-1")
    assert revoked.connect()[0].value == 0x87
    revoked.close()


def test_without_a_certificate_there_is_no_connection(broker: Broker, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca))
    with (
        socket.create_connection(("127.0.0.1", broker.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        try:  # in TLS 1.3 the refusal comes with the first read
            tls.sendall(b"\x10\x00")
            answer = tls.recv(1)
        except (ssl.SSLError, ConnectionError):
            answer = b""
    assert answer == b""


def test_the_policy_decides_who_connects(device: MakeDevice, cloud: FakeCloud) -> None:
    cloud.things.denied.append(("iot:Connect", "client/core-1"))
    assert device(connect=False).connect()[0].value == 0x87


def test_a_second_client_with_the_same_id_takes_the_session_over(
    device: MakeDevice, cloud: FakeCloud
) -> None:
    first = device("core-1")
    second = device("core-1")
    assert first.disconnects.get(timeout=WAIT_S).value == 0x8E
    assert cloud.things.online == {"core-1": True}
    second.subscribe("x")
    second.publish("x", 1)
    assert second.next() == ("x", 1)


def test_a_will_is_published_when_a_client_is_lost(device: MakeDevice) -> None:
    reader = device("reader")
    reader.subscribe("gone/+")
    lost = device("lost", connect=False)
    lost.client.will_set("gone/lost", b'"without a word"', qos=1)
    lost.connect()
    lost.client.loop_stop()
    lost.client.socket().close()
    assert reader.next() == ("gone/lost", "without a word")


def test_a_will_is_dropped_when_a_client_says_goodbye(device: MakeDevice) -> None:
    reader = device("reader")
    reader.subscribe("gone/+", "other")
    leaving = device("leaving", connect=False)
    leaving.client.will_set("gone/leaving", b"1", qos=1)
    leaving.connect()
    leaving.close()
    reader.publish("other", 2)
    assert reader.next() == ("other", 2)


def test_a_silent_client_is_cut_off_after_its_keep_alive(device: MakeDevice, until: Any) -> None:
    silent = device("silent", connect=False)
    silent.connect(keepalive=1)
    silent.client.loop_stop()  # no more pings, and nobody reads
    reader = device("reader")
    until(lambda: _ended(silent.client.socket()))
    reader.publish("still", 1)


def _ended(sock: Any) -> bool:
    try:
        while data := sock.recv(4096):
            if data[0] >> 4 == 14:
                return True
    except (ssl.SSLWantReadError, BlockingIOError):
        return False
    return True


def test_messages_with_qos_1_wait_for_a_session_that_lasts(device: MakeDevice) -> None:
    sleeper = device("sleeper", connect=False)
    sleeper.connect(clean_start=True, properties=_expiry(60))
    sleeper.subscribe("news")
    sleeper.close()
    writer = device("writer")
    writer.publish("news", {"n": 1})
    again = device("sleeper", connect=False)
    _, flags, _ = again.connect(clean_start=False, properties=_expiry(60))
    assert flags.session_present
    assert again.next() == ("news", {"n": 1})


def test_a_session_without_expiry_ends_with_its_connection(device: MakeDevice) -> None:
    first = device("core-1")
    first.subscribe("news")
    first.close()
    _, flags, _ = device("core-1", connect=False).connect(clean_start=False)
    assert not flags.session_present


def test_a_retained_message_greets_later_subscribers_until_it_is_emptied(
    device: MakeDevice,
) -> None:
    writer = device("writer")
    writer.publish("state/a", {"on": 1}, retain=True)
    late = device("late")
    late.subscribe("state/+")
    assert late.next() == ("state/a", {"on": 1})
    writer.publish("state/a", b"", retain=True)
    later = device("later")
    later.subscribe("state/+", "end")
    later.publish("end", 0)
    assert later.next() == ("end", 0)


def test_retaining_needs_a_permission_of_its_own(device: MakeDevice, cloud: FakeCloud) -> None:
    cloud.things.denied.append(("iot:RetainPublish", "topic/*"))
    assert device().publish("state/a", 1, retain=True).value == 0x87


def test_a_publish_that_the_policy_denies_is_told_and_goes_nowhere(
    device: MakeDevice, cloud: FakeCloud, until: Any
) -> None:
    cloud.things.denied.append(("iot:Publish", "topic/secret/*"))
    client = device()
    assert client.publish("secret/a", 1).value == 0x87
    assert client.publish("open", 1).value == 0
    until(lambda: [topic for topic, _, _ in cloud.published] == ["open"])


def test_an_old_client_is_cut_off_when_it_publishes_what_it_may_not(
    device: MakeDevice, cloud: FakeCloud
) -> None:
    cloud.things.denied.append(("iot:Publish", "topic/secret/*"))
    client = device(protocol=V311)
    client.client.publish("secret/a", b"1", qos=1)
    assert client.disconnects.get(timeout=WAIT_S).is_failure


def test_a_subscription_that_the_policy_denies_is_refused(
    device: MakeDevice, cloud: FakeCloud
) -> None:
    cloud.things.denied.append(("iot:Subscribe", "topicfilter/secret/#"))
    codes = device().subscribe("secret/#", "open")
    assert [code.value for code in codes] == [0x87, 1]


def test_a_message_that_the_policy_does_not_let_in_is_not_delivered(
    device: MakeDevice, cloud: FakeCloud
) -> None:
    cloud.things.denied.append(("iot:Receive", "topic/site/secret"))
    client = device()
    client.subscribe("site/#")
    client.publish("site/secret", 1)
    client.publish("site/open", 2)
    assert client.next() == ("site/open", 2)


def test_the_cloud_publishes_to_devices(device: MakeDevice, cloud: FakeCloud) -> None:
    client = device()
    client.subscribe("cmd/core-1")
    cloud.say("cmd/core-1", b'{"do": "it"}')
    assert client.next() == ("cmd/core-1", {"do": "it"})


def test_a_fifty_first_subscription_is_refused(device: MakeDevice) -> None:
    client = device()
    for start in range(0, 48, 8):
        client.subscribe(*(f"t/{number}" for number in range(start, start + 8)))
    codes = client.subscribe("t/48", "t/49", "t/50")
    assert [code.value for code in codes] == [1, 1, 0x97]


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("a/b/c/d/e/f/g/h/i", 0x90),
        ("x" * 257, 0x90),
        ("$unknown/topic", 0x90),
    ],
)
def test_a_topic_beyond_the_limits_ends_the_connection(
    device: MakeDevice, topic: str, reason: int
) -> None:
    client = device()
    client.client.publish(topic, b"1", qos=1)
    assert client.disconnects.get(timeout=WAIT_S).value == reason


def test_a_payload_of_128_kb_is_taken_and_one_byte_more_is_not(device: MakeDevice) -> None:
    client = device()
    assert client.publish("big", b"x" * (128 << 10)).value == 0
    client.client.publish("big", b"x" * ((128 << 10) + 1), qos=1)
    assert client.disconnects.get(timeout=WAIT_S).value == 0x95


def test_qos_2_is_not_served(device: MakeDevice) -> None:
    client = device()
    client.client.publish("a", b"1", qos=2)
    assert client.disconnects.get(timeout=WAIT_S).value == 0x9B


def test_presence_of_a_thing_is_told_to_the_account(
    device: MakeDevice, cloud: FakeCloud, until: Any
) -> None:
    client = device("core-1")
    until(lambda: cloud.things.online.get("core-1") is True)
    client.close()
    until(lambda: cloud.things.online.get("core-1") is False)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x00",
        b"\xf0\xff\xff\xff\xff\x01",
        b"\x10\x0b\x00\x04MQTT\x05\x02\x00\x3c\x00",
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03raw" + b"\x32\x00",
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03raw" + b"\x10\x02ab",
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03raw" + b"\x82\x02\x00\x01",
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03raw" + b"\x30\xff\xff\x7f",
    ],
)
def test_bytes_that_are_no_packets_end_that_connection_only(
    device: MakeDevice, broker: Broker, authority: Authority, cloud: FakeCloud, raw: bytes
) -> None:
    certificate, key = authority.issue("raw")
    cloud.things.add(certificate.read_bytes(), "raw")
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(certificate, key)
    with (
        socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.sendall(raw)
        try:
            while tls.recv(4096):
                pass
        except ConnectionError:
            pass
    client = device("after")
    client.subscribe("still/here")
    client.publish("still/here", 1)
    assert client.next() == ("still/here", 1)
