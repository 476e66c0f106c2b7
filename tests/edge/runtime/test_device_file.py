"""The device's file decides what the command line does not say: access, gRPC, drift, telemetry."""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tritonclient.grpc as triton
from certificates import Authority

from edge_components.contract import device as contract
from edge_components.contract.device import DeviceConfig, parse_device_config
from edge_components.contract.errors import ContractError
from edge_components.runtime.main import _parser
from edge_components.runtime.settings import SettingsError, serve_settings

BASE: dict[str, dict[str, Any]] = {
    "device": {
        "id": "lot-7",
        "application": "plates",
        "hardware": "x86-64-cpu",
        "state_dir": "/var/lib/edge",
    },
    "trust": {"publishers": ()},
}


def written(folder: Path, **sections: dict[str, Any]) -> Path:
    config = msgspec.convert({**BASE, **sections}, DeviceConfig)
    path = folder / "device.toml"
    path.write_text(config.to_toml())
    assert parse_device_config(path.read_text()) == config
    return path


def options(*arguments: str | Path) -> argparse.Namespace:
    return _parser().parse_args(["serve", *map(str, arguments)])


def test_everything_of_the_file_is_taken_and_the_command_line_wins(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        runtime={
            "grpc_port": 0,
            "token_file": "/t",
            "tls_cert": "/c",
            "tls_key": "/k",
            "client_ca": "/a",
            "max_body_bytes": 1000,
            "max_connections": 7,
        },
        telemetry={"url": "mqtts://b/t", "certificate": "/dc", "key": "/dk"},
        drift={"psi": 0.4, "window_rows": 50},
    )
    found = serve_settings(options("--config", path, "--drift-psi", "0.5", "--token-file", "/u"))
    assert (found.grpc_port, found.token_file) == (0, Path("/u"))
    assert (found.tls_cert, found.tls_key, found.client_ca) == tuple(map(Path, ("/c", "/k", "/a")))
    assert (found.max_body_bytes, found.max_connections) == (1000, 7)
    assert (found.telemetry.certificate, found.telemetry.key) == ("/dc", "/dk")
    assert (found.drift.psi, found.drift.window_rows, found.drift.ks) == (0.5, 50, 0.2)
    assert found.engines == Path("/var/lib/edge/store/engines")


def test_without_anything_in_the_file_only_this_machine_gets_in(tmp_path: Path) -> None:
    found = serve_settings(options("--config", written(tmp_path)))
    assert (found.host, found.grpc_port, found.token_file) == ("127.0.0.1", None, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [("psi", 0.0), ("ks", -1.0), ("window_rows", 0), ("min_rows", 0), ("rate_per_s", -1.0)],
)
def test_what_can_be_no_threshold_is_refused_with_its_key(
    tmp_path: Path, key: str, value: float
) -> None:
    text = f"{written(tmp_path).read_text()}\n[drift]\n{key} = {value}\n"
    with pytest.raises(ContractError, match=key):
        parse_device_config(text)
    name = key.replace("_", "-")
    with pytest.raises(SettingsError, match=key):
        serve_settings(options(f"--drift-{name}", str(value)))


def test_half_a_client_certificate_is_refused() -> None:
    with pytest.raises(SettingsError, match="belong together"):
        serve_settings(options("--telemetry-certificate", "/c"))


def test_a_runtime_with_the_file_alone_wants_certificate_and_token_over_both_transports(
    tmp_path: Path, start: Any, build: Any
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    token = tmp_path / "token"
    token.write_text("a-token-of-the-tests")
    path = written(
        tmp_path,
        runtime={
            "grpc_port": 0,
            "token_file": str(token),
            "tls_cert": str(certificate),
            "tls_key": str(key),
        },
    )
    model = build.scaling(tmp_path / "m.onnx", 2.0)
    served = start("--config", path, "--model", model)
    context = ssl.create_default_context(cafile=authority.path)

    def ask(headers: dict[str, str]) -> int:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", served.port, timeout=30, context=context
        )
        connection.request("GET", "/v2/models/model", headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status

    assert ask({}) == 401
    assert ask({"Authorization": "Bearer a-token-of-the-tests"}) == 200
    client = triton.InferenceServerClient(
        f"127.0.0.1:{served.grpc_port}", ssl=True, root_certificates=str(authority.path)
    )
    assert client.is_model_ready("model", headers={"authorization": "Bearer a-token-of-the-tests"})
    client.close()


def test_a_threshold_of_the_file_decides_what_is_drift(
    tmp_path: Path, start: Any, make_version: Any, build: Any
) -> None:
    out = tmp_path / "t.jsonl"
    path = written(
        tmp_path,
        telemetry={"url": f"file://{out}", "interval_s": 0.1},
        drift={"psi": 1000.0, "ks": 1000.0, "window_rows": 30},
    )
    folder = make_version(
        1, {"fp32": lambda path: build.scaling(path, 2.0)}, golden=build.scaling_golden(2.0)
    )
    served = start("--config", path, "--version-dir", folder, "--precision", "fp32")
    tensor = {"name": "x", "datatype": "FP32", "shape": [16, 4], "data": [9.0] * 64}

    def told() -> bool:
        served.json("POST", "/v2/models/plates/infer", {"inputs": [tensor]})
        return out.exists() and b"threshold.psi" in out.read_bytes()

    build.until(told)
    lines = out.read_text().splitlines()
    logs = [
        log
        for line in lines
        for group in json.loads(line)["resourceLogs"]
        for log in group["scopeLogs"][0]["logRecords"]
    ]
    drift = [log for log in logs if log["body"]["stringValue"] == "no drift"]
    assert drift
    assert {"key": "threshold.psi", "value": {"doubleValue": 1000.0}} in drift[0]["attributes"]


SECTIONS = {
    "runtime": contract.RuntimeSection,
    "store": contract.StoreSection,
    "telemetry": contract.TelemetrySection,
    "drift": contract.DriftSection,
}
PAGES = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("section", "key"),
    [(name, key) for name, kind in SECTIONS.items() for key in kind.__struct_fields__],
)
def test_every_key_of_the_file_is_explained(section: str, key: str) -> None:
    page = "telemetry.md" if section in {"telemetry", "drift"} else "runtime.md"
    text = (PAGES / page).read_text()
    _, _, rest = text.partition(f"`[{section}]`")
    part, _, _ = rest.partition("\n## ")
    assert f"`{key}`" in part
