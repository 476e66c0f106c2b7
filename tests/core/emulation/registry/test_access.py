"""Who may do what, asked as the clients of the clouds' registries ask; and faults on demand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from edgectl.emulation.registry import Access, Passwords, RegistryFault, RegistryServer
from edgectl.emulation.registry.access import ALL_ACTIONS

FORM = "application/x-www-form-urlencoded"


class Known:
    """A person with a password, a reader, and a cloud's access token."""

    def actions(self, username: str, password: str) -> frozenset[str] | None:
        known = {
            ("anna", "secret"): ALL_ACTIONS,
            ("robot", "reads"): frozenset({"pull"}),
            ("", "cloud-token"): ALL_ACTIONS,
        }
        return known.get((username, password))


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


@pytest.fixture
def guarded(make_registry: Callable[..., RegistryServer]) -> RegistryServer:
    """A registry that knows three callers."""
    return make_registry(access=Access(Known(), service="registry.example"))


@pytest.fixture
def guest(guarded: RegistryServer, client_of: Callable[..., Any]) -> Any:
    """A client of ``guarded``."""
    return client_of(guarded)


def token(client: Any, scope: str, authorization: str) -> str:
    query = urlencode({"service": "registry.example", "scope": scope})
    answer = client("GET", f"/oauth2/token?{query}", Authorization=authorization)
    assert answer.status == 200, answer.data
    return "Bearer " + json.loads(answer.data)["access_token"]


def test_a_stranger_is_told_where_to_get_a_token(guest: Any) -> None:
    answer = guest("GET", "/v2/a/manifests/1")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer realm="{guest.url}/oauth2/token",service="registry.example",'
        'scope="repository:a:pull"'
    )


def test_a_token_allows_what_it_was_asked_for_only(guest: Any) -> None:
    pull = token(guest, "repository:a:pull", basic("anna", "secret"))
    assert guest("GET", "/v2/a/manifests/1", Authorization=pull).status == 404
    for method, path in (("POST", "/v2/a/blobs/uploads/"), ("GET", "/v2/b/manifests/1")):
        answer = guest(method, path, Authorization=pull)
        assert answer.status == 401
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


def test_a_reader_gets_no_right_to_push(guest: Any) -> None:
    both = token(guest, "repository:a:pull,push", basic("robot", "reads"))
    assert guest("POST", "/v2/a/blobs/uploads/", Authorization=both).status == 401
    assert guest("GET", "/v2/a/manifests/1", Authorization=both).status == 404


def test_a_mount_needs_the_right_to_read_the_source(guest: Any) -> None:
    own = token(guest, "repository:a:pull,push", basic("anna", "secret"))
    path = f"/v2/a/blobs/uploads/?mount=sha256:{'0' * 64}&from=b"
    answer = guest("POST", path, Authorization=own)
    assert answer.status == 401
    assert 'scope="repository:a:pull,push repository:b:pull"' in answer.headers["WWW-Authenticate"]


def test_a_wrong_password_gets_no_token(guest: Any) -> None:
    path = "/oauth2/token?scope=repository:a:pull"
    assert guest("GET", path, Authorization=basic("anna", "wrong")).status == 401


def test_name_and_password_are_taken_directly_too(guest: Any) -> None:
    good, reads = basic("anna", "secret"), basic("robot", "reads")
    assert guest("GET", "/v2/", Authorization=good).status == 200
    assert guest("POST", "/v2/a/blobs/uploads/", Authorization=good).status == 202
    assert guest("POST", "/v2/a/blobs/uploads/", Authorization=reads).status == 403


def test_a_clouds_token_is_exchanged_as_azure_does(guest: Any) -> None:
    form = urlencode({"grant_type": "access_token", "access_token": "cloud-token"})
    exchanged = guest("POST", "/oauth2/exchange", form, Content_Type=FORM)
    refresh = json.loads(exchanged.data)["refresh_token"]
    asked = {"grant_type": "refresh_token", "scope": "repository:a:pull", "refresh_token": refresh}
    answer = guest("POST", "/oauth2/token", urlencode(asked), Content_Type=FORM)
    bearer = "Bearer " + json.loads(answer.data)["access_token"]
    assert guest("GET", "/v2/a/manifests/1", Authorization=bearer).status == 404
    login = basic("00000000-0000-0000-0000-000000000000", refresh)
    assert token(guest, "repository:a:pull", login)


def test_a_token_that_was_changed_is_worth_nothing(guest: Any) -> None:
    good = token(guest, "repository:a:pull", basic("anna", "secret"))
    for bad in (good + "0", good[:-70], "Bearer ", "Bearer é.x".encode().decode("latin-1")):
        assert guest("GET", "/v2/a/manifests/1", Authorization=bad).status == 401


def test_an_open_registry_may_let_strangers_read(
    make_registry: Callable[..., RegistryServer], client_of: Callable[..., Any]
) -> None:
    access = Access(Passwords({"anna": "secret"}), anonymous=frozenset({"pull"}))
    client = client_of(make_registry(access=access))
    assert client("GET", "/v2/a/manifests/1").status == 404
    assert client("POST", "/v2/a/blobs/uploads/").status == 401


def test_a_fault_refuses_as_often_as_it_says(registry: RegistryServer, client: Any) -> None:
    registry.faults.add(RegistryFault(path="^/v2/$", status=429, retry_after="7", times=2, skip=1))
    answers = [client("GET", "/v2/") for _ in range(4)]
    assert [one.status for one in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "7"


def test_faults_are_set_from_another_process(client: Any) -> None:
    fault = json.dumps({"path": "/blobs/", "status": 500})
    assert client("POST", "/_edgectl/faults", fault).status == 200
    assert client("GET", "/v2/a/blobs/x").status == 500
    assert ["GET", "/v2/a/blobs/x", 500, 1] in json.loads(client("GET", "/_edgectl/requests").data)[
        "requests"
    ]
    client("POST", "/_edgectl/faults", fault)
    client("DELETE", "/_edgectl/faults")
    assert client("GET", "/v2/a/blobs/x").status == 400


def test_the_program_serves_until_its_input_ends(
    tmp_path: Path, client_of: Callable[..., Any]
) -> None:
    command = [sys.executable, "-m", "edgectl.emulation.registry", str(tmp_path / "r")]
    command += ["--user", "anna", "--anonymous", "--stop-on-eof"]
    env = {**os.environ, "EDGECTL_REGISTRY_PASSWORD": "secret"}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        word, host = process.stdout.readline().split()

        class Told:
            url = f"http://{host}"

        client = client_of(Told())
        assert (word, client("GET", "/v2/a/manifests/1").status) == ("ready", 404)
        good = basic("anna", "secret")
        assert client("POST", "/v2/a/blobs/uploads/", Authorization=good).status == 202
        process.communicate(timeout=30)
    assert process.returncode == 0
