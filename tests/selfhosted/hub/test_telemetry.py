"""Telemetry: OTLP in, duplicates dropped, pages out, bounds kept."""

from __future__ import annotations

import gzip
import json
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.telemetry import Kind, TelemetryRecord, to_otlp
from edgectl_selfhosted.hub.errors import HubError
from edgectl_selfhosted.hub.store import telemetry as store
from edgectl_selfhosted.hub.store.rows import Tx
from edgectl_selfhosted.hub.store.schema import migrate
from edgectl_selfhosted.hub.telemetry import inflate

JSON = {"Content-Type": "application/json"}


def records(device: str, *numbers: int, **more: Any) -> list[TelemetryRecord]:
    return [
        TelemetryRecord(
            id=f"{device}-{n}",
            kind=more.get("kind", Kind.PREDICTION),
            time_unix_ns=1_000 + n,
            device=device,
            application=more.get("application", "plates"),
            release=3,
            package="sha256:abc",
            body=f"answer {n}",
            attributes={"label": "7", "confidence": 0.5, "ok": True, "n": n},
        )
        for n in numbers
    ]


def send(device: Any, found: list[TelemetryRecord], expect: int = 200, **headers: str) -> Any:
    data = to_otlp(found)
    if headers.get("Content_Encoding") == "gzip":
        data = gzip.compress(data)
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    response = device.http.post("/v1/logs", content=data, headers={**JSON, **named})
    assert response.status_code == expect, response.text
    return response.json()


def fetch(hub: Any, **params: Any) -> Any:
    response = hub.client.get("/telemetry/v1/records", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def test_records_come_back_as_they_were_sent(shared: Any, name: str) -> None:
    device = shared.device(name)
    sent = records(name, 1, 2)
    assert send(device, sent) == {}
    found = fetch(shared, device=name)
    assert found["next"] == ""
    assert [TelemetryRecord(**{**r, "kind": Kind(r["kind"])}) for r in found["records"]] == sent


def test_gzip_is_taken(shared: Any, name: str) -> None:
    device = shared.device(name)
    send(device, records(name, 1), Content_Encoding="gzip")
    assert len(fetch(shared, device=name)["records"]) == 1


def test_second_delivery_of_a_record_is_dropped(shared: Any, name: str) -> None:
    device = shared.device(name)
    send(device, records(name, 1, 2))
    send(device, records(name, 2, 3))
    assert [r["id"] for r in fetch(shared, device=name)["records"]] == [
        f"{name}-{n}" for n in (1, 2, 3)
    ]


def test_records_are_filtered_and_paged_in_order(shared: Any, name: str) -> None:
    device = shared.device(name)
    send(device, records(name, *range(10), application=name))
    send(device, records(name, 50, kind=Kind.HEALTH, application=name))
    seen: list[str] = []
    cursor = ""
    while True:
        page = fetch(shared, application=name, kind="prediction", limit=4, cursor=cursor)
        seen += [r["id"] for r in page["records"]]
        cursor = page["next"]
        if not cursor:
            break
    assert seen == [f"{name}-{n}" for n in range(10)]
    assert len(fetch(shared, application=name, since=1_008)["records"]) == 3
    assert len(fetch(shared, application=name, kind="health")["records"]) == 1
    assert fetch(shared, application="none-such") == {"records": [], "next": ""}


@pytest.mark.parametrize(
    "params", [{"kind": "gossip"}, {"limit": "x"}, {"since": "yesterday"}, {"cursor": "' OR 1"}]
)
def test_question_that_cannot_be_read_is_refused(shared: Any, params: dict[str, str]) -> None:
    assert shared.client.get("/telemetry/v1/records", params=params).status_code == 400


def test_records_that_come_late_stand_where_their_time_puts_them(shared: Any, name: str) -> None:
    device = shared.device(name)
    send(device, records(name, 5, 9))
    send(device, records(name, 1, 7))
    ids, cursor = [], ""
    for _ in range(4):
        page = fetch(shared, device=name, limit=1, cursor=cursor)
        ids += [record["id"] for record in page["records"]]
        cursor = page["next"]
    assert ids == [f"{name}-{n}" for n in (1, 5, 7, 9)]
    assert cursor == ""


def test_device_speaks_only_for_itself_a_gateway_for_all(
    shared: Any, new_device: Any, name: str
) -> None:
    device = shared.device(name)
    other = f"{name}-other"
    send(device, records(name, 1) + records(other, 1), expect=403)
    assert fetch(shared, device=name)["records"] == []
    gateway = new_device(shared, name, f"GatewayToken {shared.gateway}")
    send(gateway, records(name, 1) + records(other, 1))
    assert len(fetch(shared, device=other)["records"]) == 1
    for header in ("", "TargetToken x", "GatewayToken x", f"Bearer {shared.password}"):
        send(new_device(shared, name, header), records(name, 2), expect=401)


def test_two_devices_may_use_the_same_record_id(shared: Any, name: str) -> None:
    for number in range(2):
        device = shared.device(f"{name}-{number}")
        record = records(f"{name}-{number}", 1, application=name)[0]
        twin = TelemetryRecord(
            id="same",
            kind=record.kind,
            time_unix_ns=1,
            device=record.device,
            application=name,
        )
        send(device, [twin])
    assert len(fetch(shared, application=name)["records"]) == 2


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"resourceLogs": 5}', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, JSON, 400),
        (b"{}", {"Content-Type": "application/x-protobuf"}, 415),
        (b"{}", {**JSON, "Content-Encoding": "br"}, 415),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"{}", mtime=0)[:-5], {**JSON, "Content-Encoding": "gzip"}, 400),
        (gzip.compress(b" " * (20 << 20)), {**JSON, "Content-Encoding": "gzip"}, 413),
        (b" " * (5 << 20), JSON, 413),
        (b"{}", JSON, 200),
    ],
)
def test_bad_requests_are_refused(
    shared: Any, name: str, data: bytes, headers: dict[str, str], status: int
) -> None:
    device = shared.device(name)
    assert device.http.post("/v1/logs", content=data, headers=headers).status_code == status


@pytest.mark.parametrize("time", [str(1 << 64), "-5", "x", 1.5])
def test_time_that_is_none_is_refused_or_kept_never_a_failure(
    shared: Any, name: str, time: Any
) -> None:
    device = shared.device(name)
    sent = json.loads(to_otlp(records(name, 1)))
    sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["timeUnixNano"] = time
    assert device.http.post("/v1/logs", json=sent).status_code in {200, 400}


@given(st.binary(max_size=200))
def test_inflating_anything_ends_in_data_or_a_refusal(data: bytes) -> None:
    try:
        assert len(inflate(data, 100)) <= 100
    except HubError:
        return


def test_inflating_stops_at_the_limit() -> None:
    with pytest.raises(HubError):
        inflate(gzip.compress(bytes(101)), 100)
    assert inflate(gzip.compress(bytes(100)), 100) == bytes(100)


def test_oldest_records_go_first_when_bytes_or_time_run_out() -> None:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    migrate(conn, 0)
    store.add(Tx(conn, 1_000, "d"), records("d", 1, 2))
    store.add(Tx(conn, 5_000, "d"), records("d", 3, 4, 5))

    def left() -> list[str]:
        return [row[0][-1] for row in conn.execute("SELECT id FROM telemetry ORDER BY seq")]

    assert store.expire(Tx(conn, 6_000, "s"), keep_bytes=1 << 20, keep_ms=4_000) == 2
    assert left() == ["3", "4", "5"]
    size = conn.execute("SELECT max(length(record)) FROM telemetry").fetchone()[0] + 200
    store.expire(Tx(conn, 6_000, "s"), keep_bytes=2 * size, keep_ms=4_000)
    assert left() == ["4", "5"]
    store.expire(Tx(conn, 6_000, "s"), keep_bytes=0, keep_ms=4_000)
    assert left() == []
    conn.close()
