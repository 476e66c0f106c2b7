"""TLS, client certificates and the bearer token, over REST and gRPC against real processes."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from certificates import Authority
from tritonclient.utils import InferenceServerException

TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def model(build: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = build.scaling(tmp_path_factory.mktemp("m") / "m.onnx", 2.0)
    return found


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("t") / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture(scope="module")
def guarded(module_start: Any, model: Path, token_file: Path) -> Any:
    return module_start("--model", model, "--token-file", token_file, "--grpc-port", "0")


@pytest.fixture(scope="module")
def mutual(module_start: Any, model: Path, authority: Authority) -> Any:
    """A runtime that has a certificate and wants one."""
    certificate, key = authority.issue("server")
    pair = ("--tls-cert", certificate, "--tls-key", key, "--client-ca", authority.path)
    return module_start("--model", model, *pair, "--grpc-port", "0")


def x_input() -> triton.InferInput:
    given = triton.InferInput("x", [1, 4], "FP32")
    given.set_data_from_numpy(np.ones((1, 4), np.float32))
    return given


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_probes_need_no_token(guarded: Any, path: str) -> None:
    assert guarded.request("GET", path)[0] == 200


@pytest.mark.parametrize("path", ["/v2", "/metrics", "/v2/models/model", "/none"])
@pytest.mark.parametrize(
    "given",
    [None, "Bearer wrong-token-of-tests", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", TOKEN],
)
def test_a_missing_or_wrong_token_gets_401(guarded: Any, path: str, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    status, answered, body = guarded.request("GET", path, None, headers)
    assert status == 401
    assert answered["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in body.decode()


def test_inference_and_loading_need_the_token(guarded: Any) -> None:
    for path in ("/v2/models/model/infer", "/v2/repository/models/model/unload"):
        assert guarded.request("POST", path, {})[0] == 401


def test_the_token_opens_and_its_scheme_may_be_written_in_any_case(guarded: Any) -> None:
    assert guarded.request("GET", "/v2", None, BEARER)[0] == 200
    assert guarded.request("GET", "/v2", None, {"Authorization": f"bearer {TOKEN}"})[0] == 200


def test_a_connection_without_the_token_is_refused_after_one_with_it(guarded: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=20)
    for headers, status in ((BEARER, 200), ({}, 401), (BEARER, 200)):
        connection.request("GET", "/v2", headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_grpc_needs_the_token_too(guarded: Any) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{guarded.grpc_port}") as client:
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException) as caught:
            client.infer("model", [x_input()])
        assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
        answer = client.infer("model", [x_input()], headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.as_numpy("y").tolist() == [[2, 2, 2, 2]]


def trusting(authority: Authority, *, own: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.path)
    if own is not None:
        context.load_cert_chain(*authority.issue(own))
    return context


def test_a_client_with_a_certificate_is_answered(mutual: Any, authority: Authority) -> None:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", mutual.port, timeout=20, context=trusting(authority, own="client")
    )
    big = json.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [40_000, 4], "data": [1.5] * 160_000}
            ]
        }
    )
    for _ in range(2):
        connection.request("POST", "/v2/models/model/infer", big)
        answer = connection.getresponse()
        assert json.loads(answer.read())["outputs"][0]["data"] == [3.0] * 160_000
    connection.close()


def test_a_client_without_a_certificate_is_not(mutual: Any, authority: Authority) -> None:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", mutual.port, timeout=20, context=trusting(authority, own=None)
    )
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.request("GET", "/v2/health/live")
        connection.getresponse()
    connection.close()


def test_grpc_wants_the_certificate_too(mutual: Any, authority: Authority) -> None:
    certificate, key = authority.issue("grpc-client")
    address, trusted = f"127.0.0.1:{mutual.grpc_port}", authority.path.read_bytes()
    good = grpc.ssl_channel_credentials(trusted, key.read_bytes(), certificate.read_bytes())
    with triton.InferenceServerClient(address, ssl=True, creds=good) as client:
        assert client.infer("model", [x_input()]).as_numpy("y").tolist() == [[2, 2, 2, 2]]
    bad = grpc.ssl_channel_credentials(trusted)
    with (
        triton.InferenceServerClient(address, ssl=True, creds=bad) as client,
        pytest.raises(InferenceServerException),
    ):
        client.is_server_live(client_timeout=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-cert", "c.pem"], "--tls-cert and --tls-key belong together"),
        (["--client-ca", "c.pem"], "--client-ca needs --tls-cert"),
        (
            ["--tls-cert", "no.pem", "--tls-key", "no.key"],
            "--tls-cert: 'no.pem' cannot be read: No such",
        ),
        (["--token-file", "none"], "'none' cannot be read: No such file"),
        (["--token-file", "short"], "one token of at least 16"),
    ],
)
def test_settings_that_cannot_be_used_end_the_start(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "short").write_text("short")
    command = [sys.executable, "-m", "edge_components.runtime.main", "serve", "--port", "0"]
    done = subprocess.run(
        [*command, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert message in done.stderr
