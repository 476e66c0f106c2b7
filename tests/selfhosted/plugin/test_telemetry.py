from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgectl import api
from edgectl.api import Kind, TelemetryRecord, to_otlp


@pytest.fixture
def hub_only(server: Any) -> None:
    if server.kind != "hub":
        pytest.skip("a real hawkBit takes no telemetry; a collector stands beside it")


def records(device: Any, *numbers: int, kind: Kind = Kind.PREDICTION) -> list[TelemetryRecord]:
    return [
        TelemetryRecord(
            id=f"{device.id}-{n}",
            kind=kind,
            time_unix_ns=n * 1000,
            device=device.id,
            application=device.config.device.application,
            attributes={"label": n},
        )
        for n in numbers
    ]


def send(device: Any, found: list[TelemetryRecord]) -> None:
    telemetry = device.config.telemetry
    headers = {"Authorization": telemetry.authorization, "Content-Type": "application/json"}
    httpx.post(telemetry.url, content=to_otlp(found), headers=headers).raise_for_status()


def read(fleet: Any, **more: Any) -> list[int]:
    request = api.TelemetryRequest(target=fleet.target, application=fleet.application, **more)
    return [
        r.time_unix_ns // 1000 for page in fleet.provider.telemetry(request) for r in page.records
    ]


@pytest.mark.usefixtures("hub_only")
def test_what_devices_told_comes_back_oldest_first(fleet: Any) -> None:
    one, two = fleet.device("one"), fleet.device("two")
    send(one, records(one, 1, 2))
    send(two, records(two, 3))
    send(one, records(one, 4))
    assert read(fleet) == [1, 2, 3, 4]
    assert read(fleet, limit=2) == [1, 2, 3, 4]


@pytest.mark.usefixtures("hub_only")
def test_records_are_narrowed_by_device_kind_and_time(fleet: Any) -> None:
    one, two = fleet.device("one"), fleet.device("two")
    send(one, records(one, 1, 2) + records(one, 3, kind=Kind.HEALTH))
    send(two, records(two, 4))
    assert read(fleet, device=two.id) == [4]
    assert read(fleet, kind=Kind.HEALTH) == [3]
    assert read(fleet, since_unix_ns=2000) == [2, 3, 4]


@pytest.mark.usefixtures("hub_only")
def test_another_targets_devices_are_not_told(fleet: Any, unique: str) -> None:
    one = fleet.device("one", labels={"site": f"east-{unique}"})
    two = fleet.device("two", labels={"site": f"west-{unique}"})
    send(one, records(one, 1))
    send(two, records(two, 2))
    east = api.Target(
        name="east", provider="selfhosted", selector={"tags": {"site": f"east-{unique}"}}
    )
    request = api.TelemetryRequest(target=east, application=fleet.application)
    found = [r.device for page in fleet.provider.telemetry(request) for r in page.records]
    assert found == [one.id]


def test_a_collectors_files_stand_in_for_the_hub(
    fleet: Any, open_plugin: Callable[..., api.Provider], tmp_path: Path
) -> None:
    one = fleet.device("one")
    lines = [to_otlp(records(one, n)) + b"\n" for n in (2, 1, 3)]
    (tmp_path / "otel").mkdir()
    (tmp_path / "otel" / "a.jsonl").write_bytes(b"".join(lines))
    fleet.provider = open_plugin(telemetry_files="otel/*.jsonl")
    assert read(fleet, limit=2) == [1, 2, 3]
    assert read(fleet, since_unix_ns=3000) == [3]


def test_a_server_without_telemetry_says_what_to_set(
    fleet: Any, open_plugin: Callable[..., api.Provider], server: Any
) -> None:
    fleet.provider = open_plugin(telemetry_url=f"{server.url}/nothing-here")
    with pytest.raises(api.UnsupportedError) as caught:
        read(fleet)
    assert "telemetry_files" in caught.value.hint
