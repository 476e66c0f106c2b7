"""Hostile input: too large, too deep, too many, misleading; always an answer, never a failure."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_selfhosted.hub.ddi.feedback import Feedback, of_cancelation, of_deployment
from edgectl_selfhosted.hub.poll_cache import Entry, PollCache
from edgectl_selfhosted.hub.tls import common_name

JSON = {"Content-Type": "application/json"}


def test_body_larger_than_the_bound_is_413(shared: Any) -> None:
    data = b'[{"controllerId": "' + b"x" * (3 << 20) + b'"}]'
    shared.refuse("POST", "/targets", 413, content=data, headers=JSON)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'[{"controllerId":"x","name":' + b"[" * 1_000 + b"]" * 1_000 + b"}]",
        b'[{"controllerId":"\xff"}]',
        b'[{"controllerId":"\\ud800"}]',
        b'[{"controllerId":5}]',
        b'[{"controllerId":"a","targetType":1e400}]',
        b'[{"controllerId":"a","targetType":99999999999999999999}]',
        b"null",
        b"",
    ],
)
def test_json_that_is_deep_or_broken_is_400(shared: Any, data: bytes) -> None:
    shared.refuse("POST", "/targets", 400, content=data, headers=JSON)


def test_text_beyond_its_length_is_refused(shared: Any, name: str) -> None:
    long = "x" * 129
    shared.refuse("POST", "/targets", 400, json=[{"controllerId": name, "name": long}])
    shared.refuse("POST", "/targettags", 400, json=[{"name": long}])
    shared.refuse("POST", "/targettags", 400, json=[{"name": ""}])


@pytest.mark.parametrize("id_", ["0", "-1", "x", "1e3", "9" * 30, "%00", "1;DROP"])
def test_number_in_a_path_that_is_none_is_404(shared: Any, id_: str) -> None:
    for kind in ("distributionsets", "softwaremodules", "rollouts", "targettags", "actions"):
        shared.refuse("GET", f"/{kind}/{id_}", 404)


@pytest.mark.parametrize(
    "path",
    [
        "/DEFAULT/controller/v1/{d}/softwaremodules/{m}/artifacts/..%2f..%2fhub.db",
        "/DEFAULT/controller/v1/{d}/softwaremodules/{m}/artifacts/%2e%2e",
        "/DEFAULT/controller/v1/{d}/softwaremodules/..%2f{m}/artifacts/f",
        "/DEFAULT/controller/v1/{d}/../../../etc/passwd",
        "/DEFAULT/controller/v1/{d}/softwaremodules/{m}/artifacts/%00",
    ],
)
def test_path_cannot_leave_the_artifacts(shared: Any, name: str, path: str) -> None:
    device = shared.device(name)
    shared.assign(shared.dset(name, {"f": b"1"}), name)
    module = device.deployment()["deployment"]["chunks"][0]["artifacts"][0]["_links"]
    number = module["download-http"]["href"].split("/")[-3]
    raw = path.format(d=name, m=number)
    request = device.http.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=raw.encode())
    assert device.http.send(request).status_code in {401, 404}


def raw(hub: Any, data: bytes) -> bytes:
    host = urlsplit(hub.url)
    with socket.create_connection((host.hostname, host.port), timeout=20) as conn:
        try:
            conn.sendall(data)
            return conn.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_head_without_end_is_hung_up_on(shared: Any) -> None:
    assert raw(shared, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * (1 << 20)) == b""
    many = b"".join(b"X-%d: y\r\n" % n for n in range(20_000))
    assert b" 200 " not in raw(shared, b"GET / HTTP/1.1\r\nHost: x\r\n" + many)
    assert b" 200 " not in raw(shared, b"GET /" + b"a" * (1 << 20))
    shared.ok("GET", "/userinfo")


def test_what_is_no_http_is_refused(shared: Any) -> None:
    assert b" 200 " not in raw(shared, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    assert b" 400 " in raw(shared, b"NONSENSE\r\n\r\n")
    shared.ok("GET", "/userinfo")


def test_host_header_shows_only_in_the_answer_to_whoever_sent_it(shared: Any, name: str) -> None:
    device = shared.device(name)
    evil = device.call("GET", "", headers={"Host": "evil.example"}).json()
    assert "evil.example" in json.dumps(evil)
    assert "evil.example" not in json.dumps(device.poll())


def test_public_url_overrules_the_host_header(start_hub: Any) -> None:
    hub = start_hub(public_url="https://hub.example/x")
    device = hub.device("d")
    device.http.headers["Host"] = "evil.example"
    assert device.links()["configData"].startswith("https://hub.example/x/DEFAULT/controller/v1/d/")
    assert hub.ok("GET", "/targets/d")["_links"]["self"]["href"].startswith(
        "https://hub.example/x/"
    )


def test_history_of_an_action_is_bounded_and_can_still_be_closed(start_hub: Any) -> None:
    hub = start_hub(quotas={"status_per_action": 5, "messages_per_status": 3})
    device = hub.device("d")
    action = hub.assign(hub.dset("s"), "d")[0]
    device.say(action, "proceeding", expect=429, details=["x"] * 4)
    for _ in range(4):
        device.say(action, "proceeding")
    device.say(action, "proceeding", expect=429)
    device.say(action, "closed", "success")
    assert hub.ok("GET", f"/targets/d/actions/{action}")["detailStatus"] == "finished"


def test_long_message_is_cut(shared: Any, name: str) -> None:
    device = shared.device(name)
    action = shared.assign(shared.dset(name), name)[0]
    device.say(action, "proceeding", details=["x" * 100_000])
    newest = shared.ok("GET", f"/targets/{name}/actions/{action}/status")["content"][0]
    assert newest["messages"] == ["x" * 512]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=60, deadline=None)
@given(q=TEXT, sort=TEXT, offset=TEXT)
def test_no_list_parameter_makes_the_hub_fail(shared: Any, q: str, sort: str, offset: str) -> None:
    for path in ("targets", "actions", "rollouts", "distributionsets", "softwaremodules"):
        asked = f"/rest/v1/{path}?q={quote(q)}&sort={quote(sort)}&offset={quote(offset)}"
        assert shared.client.get(asked).status_code in {200, 400}


@settings(max_examples=60, deadline=None)
@given(TEXT)
def test_no_path_makes_the_hub_fail(shared: Any, text: str) -> None:
    part = quote(text, safe="")
    for path in (f"/rest/v1/targets/{part}", f"/{part}", f"/DEFAULT/controller/v1/{part}"):
        assert shared.client.get(path).status_code in {200, 401, 404}


FEEDBACK: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    execution=st.sampled_from(
        [
            "closed",
            "proceeding",
            "canceled",
            "scheduled",
            "rejected",
            "resumed",
            "downloaded",
            "download",
        ]
    ),
    result=st.builds(dict, finished=st.sampled_from(["success", "failure", "none"])),
)


@given(FEEDBACK)
def test_every_feedback_has_a_meaning(status: dict[str, Any]) -> None:
    sent = msgspec.convert({"status": status}, Feedback)
    assert of_deployment(sent).status
    assert of_cancelation(sent).status


def entry(name: str) -> Entry:
    return Entry(
        controller_id=name,
        token=b"t",
        is_new=False,
        wants_attributes=False,
        action=None,
        installed_action=None,
    )


def test_cache_never_keeps_what_a_write_made_stale_while_it_was_loaded() -> None:
    cache = PollCache()
    ticket = cache.begin_load("d")
    cache.forget({"d"})
    cache.store("d", ticket, entry("d"))
    assert cache.get("d") is None
    fresh = cache.begin_load("d")
    cache.store("d", fresh, entry("d"))
    assert cache.get("d") is not None
    ticket = cache.begin_load("e")
    cache.forget_all()
    cache.store("e", ticket, entry("e"))
    assert cache.get("e") is None
    assert cache.get("d") is None


def test_certificate_with_no_or_several_names_names_nobody() -> None:
    assert common_name(None) == ""
    assert common_name({}) == ""
    one = {"subject": ((("organizationName", "o"),), (("commonName", "d1"),))}
    two = {"subject": ((("commonName", "d1"),), (("commonName", "d2"),))}
    assert common_name(one) == "d1"
    assert common_name(two) == ""
