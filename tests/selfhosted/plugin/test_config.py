from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl_selfhosted.config import SelfhostedConfig, in_project, same_origin


def config(**values: Any) -> SelfhostedConfig:
    return msgspec.convert(values, SelfhostedConfig)


def test_everything_else_follows_from_the_url() -> None:
    found = config(url="https://hub.example/base/")
    assert found.server == "https://hub.example/base"
    assert found.telemetry_server == found.device_server == found.server
    assert found.device_otlp == "https://hub.example/base/v1/logs"


def test_devices_may_use_another_address() -> None:
    found = config(url="http://10.0.0.1:8280", device_url="https://edge.example/")
    assert found.device_server == "https://edge.example"
    assert found.device_otlp == "https://edge.example/v1/logs"
    assert found.telemetry_server == "http://10.0.0.1:8280"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ulr": "http://x"}, "unknown field `ulr`"),
        ({"url": "hub.example"}, "`url` is 'hub.example'"),
        ({"url": ""}, "`url` is ''"),
        ({"url": "ftp://x"}, "expected an address"),
        ({"url": "http://x:port"}, "expected an address"),
        ({"url": "http://me:secret@x"}, "must not hold credentials"),
        ({"url": "http://x?q=1"}, "must not have a query"),
        ({"device_url": "x"}, "`device_url` is 'x'"),
        ({"token": "t", "username": "u"}, "not both"),
        ({"password": "p"}, "needs a `username`"),
        ({"username": "u", "password": "p", "password_file": "f"}, "not both"),
        ({"timeout_s": 0}, "above 0"),
        ({"timeout_s": "fast"}, "Expected `float`"),
    ],
)
def test_a_wrong_value_names_its_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        config(**values)


def test_secrets_do_not_show() -> None:
    found = config(username="u", password="opensesame")
    assert "opensesame" not in repr(found)
    assert "opensesame" not in str(found)


def test_another_tenant_stands_before_the_user() -> None:
    assert config(username="me").login == "me"
    assert config(username="me", tenant="LOTS").login == "LOTS\\me"


def test_relative_paths_begin_at_the_project(tmp_path: Path) -> None:
    assert in_project("secrets/password", tmp_path) == tmp_path / "secrets" / "password"
    assert in_project("/etc/password", tmp_path) == Path("/etc/password")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("http://a/x", "http://a/y", True),
        ("https://a", "https://a:443", True),
        ("http://a", "https://a", False),
        ("http://a:1", "http://a:2", False),
        ("http://a", "http://b", False),
    ],
)
def test_one_server_is_one_scheme_host_and_port(first: str, second: str, same: bool) -> None:
    assert same_origin(first, second) is same
