"""The short way of a poll: the same answer as the long way, never a stale one, never too much."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest


class Wire:
    """A connection on which every byte is seen."""

    def __init__(self, hub: Any) -> None:
        address = urlsplit(hub.url)
        self.conn = socket.create_connection((address.hostname, address.port), timeout=20)
        self.file = self.conn.makefile("rb")

    def send(self, target: str, *headers: str, method: str = "GET") -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: hub", *headers, "", ""]
        self.conn.sendall("\r\n".join(lines).encode())

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer."""
        status = int(self.file.readline().split()[1])
        headers: dict[str, str] = {}
        while (line := self.file.readline().strip()) != b"":
            key, _, value = line.decode().partition(":")
            headers[key] = value.strip()
        return status, headers, self.file.read(int(headers.get("content-length", 0)))

    def close(self) -> None:
        self.file.close()
        self.conn.close()


@pytest.fixture
def wire(shared: Any) -> Any:
    found = Wire(shared)
    yield found
    found.close()


def token(device: Any) -> str:
    return f"Authorization: {device.http.headers['Authorization']}"


# An upgrade that nobody offers makes a request leave the short way, and changes nothing else.
LONG_WAY = "Upgrade: nothing"


def test_both_ways_give_the_same_answer(shared: Any, wire: Any, name: str) -> None:
    device = shared.device(name)
    device.poll()
    for give_work in (lambda: None, lambda: shared.assign(shared.dset(name, {"f": b"1"}), name)):
        give_work()
        wire.send(device.root, token(device))
        short = wire.answer()
        wire.send(device.root, token(device), LONG_WAY)
        assert wire.answer() == short
        assert short[0] == 200
        assert short[1]["content-type"] == "application/hal+json"
        etag = f"If-None-Match: {short[1]['etag']}"
        wire.send(device.root, token(device), etag)
        unchanged = wire.answer()
        wire.send(device.root, token(device), etag, LONG_WAY)
        assert wire.answer() == unchanged
        assert (unchanged[0], unchanged[2]) == (304, b"")


@pytest.mark.parametrize(
    "header",
    [
        "X-Nothing: 1",
        "Authorization: TargetToken wrong",
        "Authorization: TargetToken ",
        "Authorization: TargetToken \u00ff",
        "Authorization: GatewayToken wrong",
    ],
)
def test_both_ways_refuse_the_same(shared: Any, wire: Any, name: str, header: str) -> None:
    device = shared.device(name)
    device.poll()
    wire.send(device.root, header)
    short = wire.answer()
    wire.send(device.root, header, LONG_WAY)
    assert wire.answer() == short
    assert short[0] == 401
    wire.send(device.root + "x", header)
    assert wire.answer() == short


def test_change_is_in_the_very_next_poll(shared: Any, wire: Any, name: str) -> None:
    device = shared.device(name)
    device.poll()

    def links() -> set[str]:
        wire.send(device.root, token(device))
        return set(json.loads(wire.answer()[2]).get("_links", {}))

    assert links() == {"configData"}
    device.attributes({"a": "1"})
    assert links() == set()
    for number in range(3):
        action = shared.assign(shared.dset(f"{name}-{number}"), name)[0]
        assert links() >= {"deploymentBase"}
        device.say(action, "closed", "success")
        assert links() == {"installedBase", "configData"}
    action = shared.assign(shared.dset(f"{name}-called-off"), name)[0]
    assert links() >= {"deploymentBase"}
    shared.ok("DELETE", f"/targets/{name}/actions/{action}")
    assert links() >= {"cancelAction"}
    device.say(action, "closed", "success", to="cancelAction")
    assert links() == {"installedBase", "configData"}
    shared.ok("PUT", f"/targets/{name}", json={"securityToken": "a" * 32})
    wire.send(device.root, token(device))
    assert wire.answer()[0] == 401
    shared.ok("DELETE", f"/targets/{name}")
    wire.send(device.root, "Authorization: TargetToken " + "a" * 32)
    assert wire.answer()[0] == 401


def test_setting_is_in_the_very_next_poll(start_hub: Any) -> None:
    hub = start_hub()
    device = hub.device("d")
    device.poll()
    wire = Wire(hub)
    for time in ("00:01:00", "00:02:00"):
        hub.ok("PUT", "/system/configs/pollingTime", json={"value": time})
        wire.send(device.root, token(device))
        assert json.loads(wire.answer()[2])["config"]["polling"]["sleep"] == time
    hub.ok("PUT", "/system/configs/authentication.targettoken.enabled", json={"value": False})
    wire.send(device.root, token(device))
    assert wire.answer()[0] == 401
    wire.close()


def test_answers_to_requests_sent_together_come_in_their_order(
    shared: Any, wire: Any, name: str
) -> None:
    device = shared.device(name)
    data = name.encode() * 200_000
    shared.assign(shared.dset(name, {"f": data}), name)
    chunk = device.deployment()["deployment"]["chunks"][0]
    path = urlsplit(chunk["artifacts"][0]["_links"]["download-http"]["href"]).path
    for _ in range(2):
        for target in (device.root, path, device.root, device.root + "/none", path, device.root):
            wire.send(target, token(device))
        found = [wire.answer() for _ in range(6)]
        assert [status for status, _, _ in found] == [200, 200, 200, 404, 200, 200]
        assert found[1][2] == found[4][2] == data
        assert found[0] == found[2] == found[5]


def test_poll_that_brings_a_body_leaves_the_connection_usable(
    shared: Any, wire: Any, name: str
) -> None:
    device = shared.device(name)
    device.poll()
    wire.send(device.root, token(device), "Content-Length: 5")
    wire.conn.sendall(b"hello")
    assert wire.answer()[0] == 200
    wire.send(device.root, token(device))
    assert wire.answer()[0] == 200


def test_name_with_a_percent_sign_is_not_taken_for_another(
    shared: Any, wire: Any, name: str
) -> None:
    literal, decoded = shared.device(f"{name}%41"), shared.device(f"{name}A")
    for path, device, expected in (
        (f"{name}%2541", literal, 200),
        (f"{name}%41", decoded, 200),
        (f"{name}%41", literal, 401),
        (f"{name}%2541", decoded, 401),
    ):
        wire.send(f"/DEFAULT/controller/v1/{path}", token(device))
        assert wire.answer()[0] == expected


def test_poll_is_seen_by_operators_whichever_way_it_went(shared: Any, wire: Any, name: str) -> None:
    device = shared.device(name)
    device.poll()

    def last() -> int:
        return int(shared.ok("GET", f"/targets/{name}")["lastControllerRequestAt"])

    before = last()
    wire.send(device.root, token(device))
    wire.answer()
    assert last() >= before
    assert shared.ok("GET", f"/targets/{name}")["ipAddress"] == "127.0.0.1"
