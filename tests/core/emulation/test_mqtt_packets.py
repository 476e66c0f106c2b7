"""MQTT packets: whatever comes, there is a packet or a reason to cut the client off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.emulation.mqtt import (
    V5,
    V311,
    Connect,
    Kind,
    Message,
    PacketError,
    Publish,
    Reason,
    building,
    parsing,
    topics,
)

VERSIONS = st.sampled_from([V311, V5])


@given(st.integers(0, 15), st.integers(0, 15), st.binary(max_size=200), VERSIONS)
def test_any_bytes_are_a_packet_or_a_packet_error(
    kind: int, flags: int, body: bytes, version: int
) -> None:
    try:
        parsing.parse(kind, flags, body, version)
    except PacketError as exc:
        assert exc.reason >= Reason.UNSPECIFIED


@given(
    st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"]), max_size=50),
    st.binary(max_size=200),
    st.integers(0, 1),
    st.booleans(),
    st.integers(1, 65_535),
    VERSIONS,
)
def test_a_message_survives_the_wire(
    topic: str, payload: bytes, qos: int, retain: bool, packet_id: int, version: int
) -> None:
    message = Message(topic=topic, payload=payload, qos=qos, retain=retain)
    raw = building.publish(version, message, packet_id)
    start = 2 if raw[1] < 0x80 else 3
    found = parsing.parse(raw[0] >> 4, raw[0] & 15, raw[start:], version)
    assert found == Publish(message=message, packet_id=packet_id if qos else 0, alias=0)


@given(st.text("ab/+#$", max_size=12), st.text("ab/$", min_size=1, max_size=12))
def test_a_filter_takes_the_topic_that_it_is(name: str, topic: str) -> None:
    if not topics.filter_fault(name):
        topics.matches(name, topic)
    if not topics.has_wildcard(topic):
        assert topics.matches(topic, topic)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00", Reason.UNSUPPORTED_VERSION),
        (b"\x00\x04MQTT\x05\x01\x00\x3c\x00\x00\x00", Reason.MALFORMED),
        (b"\x00\x04MQTT\x05\x02\x00\x3c\x02\x11", Reason.MALFORMED),
        (b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x05ab", Reason.MALFORMED),
    ],
)
def test_a_connect_that_is_none_says_why(body: bytes, reason: Reason) -> None:
    with pytest.raises(PacketError) as found:
        parsing.parse(Kind.CONNECT, 0, body, V5)
    assert found.value.reason is reason


def test_an_old_clients_refusals_have_old_codes() -> None:
    assert building.suback(V311, 1, [1, 0x87]) == b"\x90\x04\x00\x01\x01\x80"
    assert building.suback(V5, 1, [1, 0x87]) == b"\x90\x05\x00\x01\x00\x01\x87"
    assert building.puback(V311, 1, 0x87) == b"\x40\x02\x00\x01"


def test_a_connect_brings_user_name_and_password() -> None:
    body = b"\0\4MQTT\4\xc2\0\x3c\0\1c\0\4user\0\2pw"
    found = parsing.parse(Kind.CONNECT, 0, body, V311)
    assert isinstance(found, Connect)
    assert (found.client_id, found.username, found.password) == ("c", "user", b"pw")
    without = parsing.parse(Kind.CONNECT, 0, b"\0\4MQTT\4\x02\0\x3c\0\1c", V311)
    assert isinstance(without, Connect)
    assert (without.username, without.password) == (None, None)
