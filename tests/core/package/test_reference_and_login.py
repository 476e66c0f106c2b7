"""References, saved logins and what a registry's challenge leads to."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.errors import EdgectlError, RegistryError
from edgectl.package.challenge import Challenge, parse_challenge, parse_token, token_request
from edgectl.package.credentials import Credentials, find_credentials
from edgectl.package.reference import Reference, parse_reference
from edgectl.package.transport import RetryPolicy

DIGEST = "sha256:" + "0a" * 32
Configure = Callable[[dict[str, object]], None]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    def write(config: dict[str, object]) -> None:
        folder = tmp_path / "docker"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(folder))

    return write


def encoded(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reg.example:5000/a/b:v1", ("reg.example:5000", "a/b", "v1", "")),
        ("reg.example/a", ("reg.example", "a", "", "")),
        (f"127.0.0.1:1/a@{DIGEST}", ("127.0.0.1:1", "a", "", DIGEST)),
        (f"localhost/a:t@{DIGEST}", ("localhost", "a", "t", DIGEST)),
        ("[::1]:5000/a__b/c-d", ("[::1]:5000", "a__b/c-d", "", "")),
    ],
)
def test_a_reference_has_host_repository_tag_and_digest(
    text: str, expected: tuple[str, str, str, str]
) -> None:
    found = parse_reference(text)
    assert (found.host, found.repository, found.tag, found.digest) == expected
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "plates", "plates:1", "a/b", "https://reg.example/a", "reg.example/", "reg.example/A",
        "reg.example/a:", "reg.example/a:b/c", "reg.example/a@sha256:12", "reg.example/a@",
        "reg.example/../a", "reg.example/a//b", "user@reg.example/a", "reg.example/a:" + "x" * 129,
        "reg.example/a b", "reg.example/a?x=1", "reg.example/a\n",
    ],
)  # fmt: skip
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(EdgectlError):
        parse_reference(text)


@given(st.text(max_size=60))
def test_no_text_is_a_reference_that_changes_the_address(text: str) -> None:
    try:
        found = parse_reference(text)
    except EdgectlError:
        return
    url = urlsplit(f"https://{found.host}/v2/{found.repository}/manifests/{found.tag}")
    assert (url.netloc, url.query, url.fragment, url.username) == (found.host, "", "", None)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost:5000", True), ("127.0.0.1", True), ("127.9.9.9:1", True), ("[::1]:1", True),
        ("localhost.example", False), ("10.0.0.1:5000", False), ("127.example:1", False),
    ],
)  # fmt: skip
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert Reference(host=host, repository="a").is_loopback is loopback


def test_without_a_configuration_there_is_no_login() -> None:
    assert find_credentials("reg.example") is None


def test_a_saved_login_is_found(configure: Configure) -> None:
    configure({"auths": {"reg.example:5000": {"auth": encoded("ann:pass:word")}}})
    assert find_credentials("reg.example:5000") == Credentials(username="ann", password="pass:word")


def test_a_login_of_another_registry_is_not_used(configure: Configure) -> None:
    configure({"auths": {"reg.example": {"auth": encoded("ann:x")}}})
    assert find_credentials("reg.example:5000") is None
    assert find_credentials("evil-reg.example") is None


def test_an_identity_token_is_found(configure: Configure) -> None:
    configure({"auths": {"reg.example": {"identitytoken": "tok"}}})
    assert find_credentials("reg.example") == Credentials(identity_token="tok")


def test_credentials_are_not_printed() -> None:
    assert "secret" not in repr(Credentials(username="ann", password="secret"))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"auths": 1}', '{"auths": {"reg.example": {"auth": "%"}}}']
)
def test_a_broken_configuration_is_a_clear_error(
    configure: Configure, tmp_path: Path, text: str
) -> None:
    configure({})
    (tmp_path / "docker" / "config.json").write_text(text)
    with pytest.raises(RegistryError, match="cannot be read"):
        find_credentials("reg.example")


def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-vault"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_credential_helper_is_asked(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, monkeypatch, 'printf \'{"Username":"%s-%s","Secret":"s"}\' "$1" "$(cat)"')
    configure({"credHelpers": {"reg.example": "vault"}, "auths": {"reg.example": {}}})
    assert find_credentials("reg.example") == Credentials(username="get-reg.example", password="s")


def test_the_default_store_may_hold_a_token(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, monkeypatch, 'printf \'{"Username":"<token>","Secret":"t"}\'')
    configure({"credsStore": "vault"})
    assert find_credentials("reg.example") == Credentials(identity_token="t")


def test_a_helper_that_knows_nothing_leaves_the_saved_login(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, monkeypatch, "echo credentials not found; exit 1")
    configure({"credsStore": "vault", "auths": {"reg.example": {"auth": encoded("a:b")}}})
    assert find_credentials("reg.example") == Credentials(username="a", password="b")


def test_a_helper_that_is_not_installed_is_named(configure: Configure) -> None:
    configure({"credsStore": "nowhere"})
    with pytest.raises(RegistryError, match="'docker-credential-nowhere' is not installed"):
        find_credentials("reg.example")


@pytest.mark.parametrize("name", ["../evil", "a b", "x;y", "-x"])
def test_a_helper_name_cannot_be_a_path_or_a_command(configure: Configure, name: str) -> None:
    configure({"credsStore": name})
    with pytest.raises(RegistryError, match="not the name of a credential helper"):
        find_credentials("reg.example")


def test_a_bearer_challenge_is_read() -> None:
    found = parse_challenge('Bearer realm="https://auth.example/token",service="r",scope="x:y:z"')
    assert found == Challenge(
        scheme="bearer",
        parameters={"realm": "https://auth.example/token", "service": "r", "scope": "x:y:z"},
    )


@given(st.text(max_size=200))
def test_any_challenge_is_read(text: str) -> None:
    parse_challenge(text)


def bearer(realm: str) -> Challenge:
    return Challenge(scheme="bearer", parameters={"realm": realm, "service": "reg"})


def test_a_token_is_asked_for_with_the_login() -> None:
    wanted = token_request(
        bearer("https://auth.example/token?a=1"),
        Credentials(username="ann", password="pw"),
        scope="repository:a:pull",
        plain_http=False,
    )
    query = parse_qs(urlsplit(wanted.url).query)
    assert query == {"a": ["1"], "service": ["reg"], "scope": ["repository:a:pull"]}
    assert wanted.headers == {"Authorization": "Basic " + encoded("ann:pw")}


def test_an_identity_token_goes_in_the_body() -> None:
    wanted = token_request(
        bearer("https://auth.example/token"),
        Credentials(identity_token="tok"),
        scope="repository:a:pull",
        plain_http=False,
    )
    assert wanted.method == "POST"
    assert wanted.url == "https://auth.example/token"
    assert b"refresh_token=tok" in (wanted.body or b"")


@pytest.mark.parametrize("realm", ["", "http://auth.example/t", "file:///etc/passwd", "https://"])
def test_an_unsafe_token_service_gets_no_password(realm: str) -> None:
    with pytest.raises(RegistryError, match="not a safe address"):
        token_request(bearer(realm), Credentials(username="a"), scope="", plain_http=False)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"token":""}', b'{"token":"a\\nb"}'])
def test_an_answer_without_a_token_is_an_error(data: bytes) -> None:
    with pytest.raises(RegistryError, match="token service"):
        parse_token(data)


@given(st.integers(1, 60), st.sampled_from(["", "3", "100000", "soon", "-1"]), st.floats(0, 1))
def test_pauses_are_bounded(attempt: int, retry_after: str, chance: float) -> None:
    policy = RetryPolicy()
    assert 0 < policy.pause_s(attempt, retry_after, chance) <= policy.max_pause_s
