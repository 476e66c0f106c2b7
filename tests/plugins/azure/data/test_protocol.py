"""The telemetry endpoint on the wire: what AMQP 1.0 lets a peer do, and what it does not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure_endpoint import NAME, Endpoint, until
from hypothesis import given
from hypothesis import strategies as st

from edgectl_azure_iot_edge._sdk.sas import ConnectionString, sign
from edgectl_azure_iot_edge.emulator.eventhub.frames import (
    AMQP_HEADER,
    SASL_HEADER,
    frame,
    named,
    performative,
    read_body,
)
from edgectl_azure_iot_edge.emulator.eventhub.types import (
    AmqpError,
    Described,
    Reader,
    Symbol,
    encode,
)

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.from_regex(r"[a-z:.-]{1,300}", fullmatch=True).map(Symbol)
    | st.uuids()
    | MOMENTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.builds(Described, st.integers(0, 255), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    reader = Reader(encode(value))
    assert reader.value() == value
    assert reader.left == 0


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_value_or_an_error_of_the_peer(data: bytes) -> None:
    with contextlib.suppress(AmqpError):
        read_body(data)


@given(VALUES, st.data())
def test_a_value_that_is_cut_off_is_an_error(value: Any, data: st.DataObject) -> None:
    whole = encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(AmqpError):
        Reader(whole[:cut]).value()


def test_nesting_without_end_is_an_error() -> None:
    with pytest.raises(AmqpError, match="deep"):
        Reader(b"\x00" * 1000).value()


class Peer:
    """A client that says what a test wants."""

    def __init__(self, endpoint: Endpoint) -> None:
        context = ssl.create_default_context(cafile=endpoint.ca)
        raw = socket.create_connection(("127.0.0.1", endpoint.room.port), 10)
        self._socket = context.wrap_socket(raw, server_hostname="localhost")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def frame(self) -> tuple[str, dict[str, Any], bytes]:
        """Return the next frame that is no heartbeat."""
        while True:
            size, offset, _kind, _channel = struct.unpack(">IBBH", self.take(8))
            assert offset == 2
            if size > 8:
                return read_body(self.take(size - 8))

    def expect(self, name: str) -> dict[str, Any]:
        found, fields, _payload = self.frame()
        assert found == name, (found, fields)
        return fields

    def open(self, plain: bytes | None = None, **fields: Any) -> dict[str, Any]:
        self.send(SASL_HEADER)
        assert self.take(8) == SASL_HEADER
        offered = self.expect("sasl-mechanisms")["sasl-server-mechanisms"]
        assert {"ANONYMOUS", "PLAIN", "MSSBCBS"} <= set(offered)
        mechanism = Symbol("ANONYMOUS" if plain is None else "PLAIN")
        init = performative("sasl-init", mechanism=mechanism, initial_response=plain or b"")
        self.send(frame(init, kind=1))
        outcome = self.expect("sasl-outcome")
        if outcome["code"]:
            return outcome
        self.send(AMQP_HEADER + frame(performative("open", container_id="test", **fields)))
        assert self.take(8) == AMQP_HEADER
        self.expect("open")
        return outcome

    def begin(self, window: int = 1000) -> None:
        body = performative(
            "begin", next_outgoing_id=0, incoming_window=window, outgoing_window=1000
        )
        self.send(frame(body))
        assert self.expect("begin")["remote-channel"] == 0

    def attach(self, address: str, *, handle: int = 0) -> dict[str, Any]:
        """Attach to read; return the error that it ends with, or nothing."""
        body = performative(
            "attach",
            name=str(uuid.uuid4()),
            handle=handle,
            role=True,
            source=performative("source", address=address),
            target=performative("target", address="here"),
        )
        self.send(frame(body))
        attached = self.expect("attach")
        if attached["source"] is not None:
            return {}
        error = self.expect("detach")["error"]
        return named(error)[1]

    def is_closed(self) -> bool:
        try:
            return not self._socket.recv(1)
        except (ConnectionError, ssl.SSLError):
            return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def peer(endpoint: Endpoint) -> Iterator[Peer]:
    made = Peer(endpoint)
    yield made
    made.close()


def login(endpoint: Endpoint, policy: str = "service", key: str = "") -> bytes:
    """Return the message of SASL PLAIN, as IoT Hub's own endpoint wants it."""
    key = key or endpoint.hub.hub.policies[policy].primary
    connection = ConnectionString(host="localhost", policy=policy, key=key)
    token = sign(connection, int(time.time()) + 60)
    return b"\0".join([b"", f"{policy}@sas.root.localhost".encode(), token.encode()])


def test_nobody_is_let_in_without_sasl(peer: Peer) -> None:
    peer.send(AMQP_HEADER)
    assert peer.take(8) == SASL_HEADER
    assert peer.is_closed()


def test_a_wrong_password_is_refused(endpoint: Endpoint, peer: Peer) -> None:
    assert peer.open(login(endpoint, key="bm90IHRoZSBrZXk="))["code"] == 1
    assert peer.is_closed()


def test_a_frame_with_a_malformed_header_ends_the_connection(peer: Peer) -> None:
    peer.open()
    peer.send(struct.pack(">IBBH", 4, 2, 0, 0))
    error = named(peer.expect("close")["error"])[1]
    assert error["condition"] == "amqp:connection:framing-error"
    assert peer.is_closed()


def test_what_is_no_performative_ends_the_connection(peer: Peer) -> None:
    peer.open()
    peer.send(frame(Described(0x99, [])))
    assert named(peer.expect("close")["error"])[1]["condition"] == "amqp:decode-error"


def test_a_channel_that_was_not_begun_ends_the_connection(peer: Peer) -> None:
    peer.open()
    peer.send(frame(performative("end"), channel=7))
    assert named(peer.expect("close")["error"])[1]["condition"] == "amqp:not-allowed"


def test_a_handle_that_is_not_attached_ends_the_session_only(peer: Peer) -> None:
    peer.open()
    peer.begin()
    peer.send(frame(performative("flow", handle=9, incoming_window=1, link_credit=1)))
    error = named(peer.expect("end")["error"])[1]
    assert error["condition"] == "amqp:session:unattached-handle"
    peer.begin()


def test_without_a_token_nothing_is_read(peer: Peer) -> None:
    peer.open()
    peer.begin()
    error = peer.attach(f"{NAME}/ConsumerGroups/$Default/Partitions/0")
    assert error["condition"] == "amqp:unauthorized-access"


def test_the_hubs_own_address_is_redirected(endpoint: Endpoint, peer: Peer) -> None:
    peer.open(login(endpoint))
    peer.begin()
    error = peer.attach("amqps://localhost/messages/events/$management")
    assert error["condition"] == "amqp:link:redirect"
    info = error["info"]
    assert info["hostname"] == info["network-host"] == "localhost"
    assert info["port"] == endpoint.room.port
    assert info["address"] == f"amqps://localhost:{endpoint.room.port}/{NAME}/$management"


def test_nothing_is_sent_without_credit_or_window(endpoint: Endpoint, peer: Peer) -> None:
    log = endpoint.site.events
    device = "window"
    number = log.partition_of(device)
    peer.open(login(endpoint))
    peer.begin(window=2)
    assert peer.attach(f"{NAME}/ConsumerGroups/$Default/Partitions/{number}") == {}
    for count in range(6):
        endpoint.tell(device, str(count).encode())
    peer.send(frame(flow(credit=3, window=2)))
    assert [peer.expect("transfer")["delivery-id"] for _ in range(2)] == [0, 1]
    peer.send(frame(flow(credit=3, window=10)))
    assert peer.expect("transfer")["delivery-id"] == 2
    # All credit is spent: what comes next is the answer to something else.
    peer.send(frame(performative("begin", next_outgoing_id=0, incoming_window=9), channel=1))
    assert peer.expect("begin")["remote-channel"] == 1


def test_credit_that_nothing_is_there_for_is_given_back(endpoint: Endpoint, peer: Peer) -> None:
    peer.open(login(endpoint))
    peer.begin()
    assert peer.attach(f"{NAME}/ConsumerGroups/$Default/Partitions/1") == {}
    peer.send(frame(performative("flow", handle=0, incoming_window=9, link_credit=5, drain=True)))
    back = peer.expect("flow")
    assert (back["link-credit"], back["delivery-count"]) == (0, 5)


def flow(*, credit: int, window: int) -> Described:
    return performative(
        "flow",
        next_incoming_id=0,
        incoming_window=window,
        next_outgoing_id=0,
        outgoing_window=10,
        handle=0,
        delivery_count=0,
        link_credit=credit,
    )


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path, idle_ms=300)
    yield made
    made.close()


def test_a_silent_connection_is_closed_and_a_beating_one_is_not(impatient: Endpoint) -> None:
    silent, beating = Peer(impatient), Peer(impatient)
    silent.open()
    beating.open()
    ended = False

    def beat() -> bool:
        nonlocal ended
        beating.send(frame(None))
        silent._socket.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            error = named(silent.expect("close")["error"])[1]
            ended = error["condition"] == "amqp:connection:forced"
        return ended

    until(beat)
    beating.begin()
    silent.close()
    beating.close()


def test_a_peer_that_wants_to_hear_something_gets_heartbeats(endpoint: Endpoint) -> None:
    peer = Peer(endpoint)
    peer.open(idle_time_out=200)
    for _ in range(3):
        assert struct.unpack(">IBBH", peer.take(8)) == (8, 2, 0, 0)
    peer.close()
