"""What a newer publisher writes and an older device, which refuses unknown keys, has to read."""

from __future__ import annotations

import json
from typing import Literal

import msgspec
import pytest

from edge_components.contract.device import (
    DeviceConfig,
    DeviceSection,
    DriftSection,
    EndpointSection,
    HubSection,
    PipelineSection,
    RuntimeSection,
    TrustSection,
    parse_device_config,
)
from edge_components.contract.errors import ContractError
from edge_components.contract.release import (
    DeviceSettings,
    NetworkSettings,
    ReleaseDocument,
    parse_release,
)
from edge_components.contract.window import Hours

PACKAGE = "sha256:" + "b" * 64


class FirstSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the first devices, which have no privacy yet."""

    soak_s: float = 10.0
    precision: Literal["fp32", "fp16", "int8"] | None = None
    telemetry_sample: float = 1.0


class FirstRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The release as the first devices read it."""

    format: Literal["edgectl.release/v1"]
    application: str
    number: int
    version: str
    package: str
    settings: FirstSettings


def release(number: int = 7, settings: DeviceSettings | None = None) -> ReleaseDocument:
    return ReleaseDocument(
        application="plates",
        number=number,
        version="1.2",
        package=PACKAGE,
        settings=settings or DeviceSettings(),
    )


@pytest.mark.parametrize(
    "settings",
    [
        DeviceSettings(),
        DeviceSettings(record="output", redact=()),
        DeviceSettings(soak_s=30.0, precision="int8", telemetry_sample=0.5),
    ],
)
def test_an_older_device_reads_a_release_that_uses_nothing_new(settings: DeviceSettings) -> None:
    found = msgspec.json.decode(release(settings=settings).to_bytes(), type=FirstRelease)
    assert found.format == "edgectl.release/v1"
    assert found.number == 7
    assert found.settings.soak_s == settings.soak_s
    assert found.settings.precision == settings.precision
    assert found.settings.telemetry_sample == settings.telemetry_sample


def test_an_older_device_refuses_a_release_that_uses_what_it_cannot_do() -> None:
    private = release(settings=DeviceSettings(redact=("input.age",)))
    with pytest.raises(msgspec.ValidationError, match="redact"):
        msgspec.json.decode(private.to_bytes(), type=FirstRelease)


def test_a_release_that_was_read_has_the_bytes_and_the_content_that_were_signed() -> None:
    made = release(settings=DeviceSettings(soak_s=10.0, telemetry_sample=0.25, redact=("x",)))
    read = parse_release(made.to_bytes())
    assert read == made
    assert read.to_bytes() == made.to_bytes()
    assert read.content_digest() == made.content_digest()


NIGHT = Hours(begin=1320, end=300, days=(0, 4))


def test_an_older_device_refuses_a_release_that_limits_its_network() -> None:
    capped = release(settings=DeviceSettings(network=NetworkSettings(bandwidth=1000)))
    with pytest.raises(msgspec.ValidationError, match="network"):
        msgspec.json.decode(capped.to_bytes(), type=FirstRelease)


def test_limits_of_the_network_are_read_as_they_were_signed() -> None:
    network = NetworkSettings(bandwidth=2_000_000, hours=NIGHT, zone="Europe/Berlin")
    made = release(settings=DeviceSettings(network=network))
    read = parse_release(made.to_bytes())
    assert read.settings.network == network
    assert read.content_digest() == made.content_digest() != release().content_digest()


@pytest.mark.parametrize(
    "network",
    [
        NetworkSettings(bandwidth=-1),
        NetworkSettings(hours=Hours(begin=-1, end=300, days=(0,))),
        NetworkSettings(hours=Hours(begin=0, end=1440, days=(0,))),
        NetworkSettings(hours=Hours(begin=0, end=300, days=())),
        NetworkSettings(hours=Hours(begin=0, end=300, days=(7,))),
    ],
)
def test_limits_that_no_device_could_keep_are_refused(network: NetworkSettings) -> None:
    made = release(settings=DeviceSettings(network=network))
    with pytest.raises(ContractError) as caught:
        parse_release(made.to_bytes())
    assert caught.value.code == "bad-release"


def test_a_setting_written_out_with_its_default_is_the_same_content() -> None:
    plain = json.loads(release().to_bytes())
    plain["settings"] = {"soak_s": 10.0, "record": "output", "redact": []}
    assert parse_release(json.dumps(plain).encode()).content_digest() == release().content_digest()


def test_the_content_is_another_with_other_settings_and_the_same_with_another_number() -> None:
    digest = release().content_digest()
    assert release(8).content_digest() == digest
    assert release(settings=DeviceSettings(record="none")).content_digest() != digest


def test_a_devices_file_names_only_what_is_not_as_usual() -> None:
    config = DeviceConfig(
        device=DeviceSection(id="a", application="plates", hardware="arm64-cpu", state_dir="/s"),
        trust=TrustSection(publishers=("key",)),
        hub=HubSection(url="http://hub", token="t"),
        runtime=RuntimeSection(host="0.0.0.0"),
        drift=DriftSection(),
        pipeline=PipelineSection(endpoints={"gate": EndpointSection(url="http://gate")}),
    )
    text = config.to_toml()
    assert "[drift]" not in text
    assert "[store]" not in text
    assert "grpc_port" not in text
    assert 'host = "0.0.0.0"' in text
    assert parse_device_config(text) == config
