"""The limits of a target's network: how they are written, and what devices are told."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.release import NetworkSettings
from edge_components.contract.window import Hours
from edgectl.errors import ProjectError
from edgectl.project.load import Project, load_project
from edgectl.project.schema import project_schema
from edgectl.project.yamltree import parse_yaml
from edgectl.rates import MAX_RATE, MIN_RATE, format_rate, parse_rate

HEAD = """apiVersion: edgectl/v1
name: plates
version: "1"
model: {path: model.onnx}
device: {soak: 3s}
targets:
  lab: {provider: selfhosted}
"""


def load(folder: Path, network: str) -> Project:
    (folder / "edgectl.yaml").write_text(text(network))
    return load_project(folder)


def text(network: str) -> str:
    return HEAD + f"  lots: {{provider: selfhosted, network: {network}}}\n"


def test_only_devices_of_the_target_are_told_of_its_network(tmp_path: Path) -> None:
    project = load(tmp_path, "{bandwidth: 2MB/s}")
    assert project.settings_of("lab") == project.settings
    assert project.settings_of("lots").network == NetworkSettings(bandwidth=2_000_000)
    assert project.settings_of("lots").soak_s == 3


def test_a_download_window_goes_by_the_device_s_own_clock(tmp_path: Path) -> None:
    window = '{download_window: {from: "22:00", to: "05:00", days: [fri, mon]}}'
    network = load(tmp_path, window).settings_of("lots").network
    assert network == NetworkSettings(hours=Hours(begin=22 * 60, end=5 * 60, days=(0, 4)))


def test_a_download_window_may_name_a_zone(tmp_path: Path) -> None:
    window = '{download_window: {from: "22:00", to: "05:00", timezone: Europe/Berlin}}'
    network = load(tmp_path, window).settings_of("lots").network
    assert network is not None
    assert network.zone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("{bandwidth: 2Mb/s}", r"yaml:8: targets.lots.network.bandwidth: '2Mb/s' is not a rate"),
        ("{bandwidth: 10B/s}", "'10B/s' is not between 1kB/s"),
        ('{download_window: {from: "25:00", to: "05:00"}}', "network.download_window: '25:00'"),
        (
            '{download_window: {from: "2:00", to: "5:00", timezone: Mars/Base}}',
            "targets.lots.network.download_window",
        ),
        (
            '{download_window: {from: "02:00", to: "05:00", timezone: Mars/Base}}',
            "there is no time zone 'Mars/Base'",
        ),
        (
            '{download_window: {from: "02:00", to: "05:00", timezone_label: tz}}',
            "unknown key, did you mean 'timezone'",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, network: str, said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        load(tmp_path, network)


def test_the_schema_takes_a_network() -> None:
    network = '{bandwidth: 2MB/s, download_window: {from: "22:00", to: "05:00"}}'
    jsonschema.validate(parse_yaml(text(network)).data, project_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse_yaml(text("{speed: 2MB/s}")).data, project_schema())


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        (1500, 1500),
        ("1500B/s", 1500),
        ("2MB/s", 2_000_000),
        ("1.5 kB/s", 1500),
        ("1MiB/s", 1 << 20),
        ("16Mbit/s", 2_000_000),
        ("8kbit/s", 1000),
    ],
)
def test_a_rate_is_read_as_people_mean_it(written: str | int, rate: int) -> None:
    assert parse_rate(written) == rate


@pytest.mark.parametrize("written", ["", "2MB", "2 M B/s", "-2MB/s", "2mB/s", "2MB/min", "٢MB/s"])
def test_what_is_no_rate_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a rate; allowed"):
        parse_rate(written)


@given(st.integers(min_value=MIN_RATE, max_value=MAX_RATE))
def test_a_written_rate_is_read_as_what_it_was(rate: int) -> None:
    assert abs(parse_rate(format_rate(rate)) - rate) <= max(rate // 10**6, 1)
