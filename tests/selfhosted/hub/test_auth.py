"""Who may do what: operators, device tokens, gateway token, client certificates."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import re
import ssl
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgectl_selfhosted.hub import telemetry
from edgectl_selfhosted.hub.auth import hash_password, verify_password
from edgectl_selfhosted.hub.ddi import confirmation, routes
from edgectl_selfhosted.hub.mgmt import ROUTES as MGMT_ROUTES

ROUTES = [*routes.ROUTES, *confirmation.ROUTES, *telemetry.ROUTES, *MGMT_ROUTES]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def status(hub: Any, path: str, authorization: str | None) -> int:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return int(hub.http(headers=headers).get(path).status_code)


OPERATOR_PATHS = ["/rest/v1/targets", "/rest/v1/system/configs", "/telemetry/v1/records", "/rest/x"]


@pytest.mark.parametrize("path", OPERATOR_PATHS)
def test_operators_sign_in_with_basic_or_bearer(shared: Any, path: str) -> None:
    expected = 404 if path == "/rest/x" else 200
    assert status(shared, path, basic("admin", shared.password)) == expected
    assert status(shared, path, f"Bearer {shared.password}") == expected


@pytest.mark.parametrize("path", OPERATOR_PATHS)
def test_whoever_does_not_sign_in_is_refused(shared: Any, path: str) -> None:
    wrong = [
        None,
        "",
        "Basic",
        "Basic !!!",
        basic("admin", ""),
        basic("admin", "wrong"),
        basic("root", shared.password),
        "Bearer wrong",
        f"GatewayToken {shared.gateway}",
        f"Digest {shared.password}",
    ]
    assert [status(shared, path, header) for header in wrong] == [401] * len(wrong)


def test_a_wrong_user_and_a_wrong_password_are_refused_alike(shared: Any) -> None:
    said = {
        shared.http(headers={"Authorization": header}).get("/rest/v1/targets").text
        for header in (basic("bob", shared.password), basic("admin", "wrong"), "Bearer wrong")
    }
    assert len(said) == 1
    assert "user name, password or token is wrong" in said.pop()


def test_refusal_says_how_to_sign_in(shared: Any) -> None:
    response = shared.http().get("/rest/v1/targets")
    assert response.headers["www-authenticate"].startswith("Basic realm=")
    assert response.json()["errorCode"] == "hawkbit.server.error.unauthorized"
    assert shared.password not in response.text


def test_device_paths_refuse_wrong_missing_and_foreign_tokens(
    shared: Any, new_device: Any, name: str
) -> None:
    token = shared.target(name)["securityToken"]
    other = shared.target(name + "-other")["securityToken"]
    wrong = [
        "",
        "TargetToken",
        f"TargetToken {token}x",
        f"TargetToken {token[:-1]}",
        f"TargetToken {other}",
        f"GatewayToken {token}",
        f"targettoken {token}",
        basic("admin", shared.password),
        "TargetToken \xe9",
    ]
    for header in wrong:
        device = new_device(shared, name)
        device.http = shared.http(headers=[(b"Authorization", header.encode("latin-1"))])
        device.call("GET", "", 401)
        device.call("PUT", "/configData", 401, json={"data": {}})
        device.call("GET", "/deploymentBase/1", 401)
    unknown = new_device(shared, name + "-unknown", f"TargetToken {token}")
    unknown.call("GET", "", 401)
    shared.refuse("GET", f"/targets/{name}-unknown", 404)


def test_other_tenants_do_not_exist(shared: Any, new_device: Any, name: str) -> None:
    token = shared.target(name)["securityToken"]
    device = new_device(shared, name, f"TargetToken {token}")
    device.root = f"/OTHER/controller/v1/{name}"
    device.call("GET", "", 401)
    device.root = f"/default/controller/v1/{name}"
    device.call("GET", "")


def test_gateway_token_is_off_until_it_is_turned_on(start_hub: Any, new_device: Any) -> None:
    hub = start_hub()
    device = new_device(hub, "d", f"GatewayToken {hub.gateway}")
    device.call("GET", "", 401)
    key = "/system/configs/authentication.gatewaytoken.enabled"
    hub.ok("PUT", key, json={"value": True})
    device.call("GET", "")
    hub.ok("PUT", key, json={"value": False})
    device.call("GET", "", 401)


def test_removed_target_is_locked_out_at_once(shared: Any, name: str) -> None:
    device = shared.device(name)
    device.poll()
    shared.ok("DELETE", f"/targets/{name}")
    device.call("GET", "", 401)


def test_secrets_are_random_private_and_only_hashed_in_the_database(start_hub: Any) -> None:
    one, two = start_hub("one"), start_hub("two")
    assert one.password != two.password
    assert one.gateway != two.gateway
    for secret in ("admin-password", "gateway-token", "hub.db", "hub.json"):
        assert stat.S_IMODE((one.data / secret).stat().st_mode) == 0o600
    one.stop()
    stored = b"".join(p.read_bytes() for p in one.data.glob("hub.db*"))
    assert one.password.encode() not in stored


def test_password_survives_a_restart_and_a_changed_file_is_taken_over(start_hub: Any) -> None:
    hub = start_hub()
    old = hub.password
    hub.stop()
    hub = start_hub()
    assert hub.password == old
    hub.stop()
    (hub.data / "admin-password").write_text("a-new-one\n")
    hub = start_hub()
    assert status(hub, "/rest/v1/userinfo", basic("admin", "a-new-one")) == 200
    assert status(hub, "/rest/v1/userinfo", basic("admin", old)) == 401


def test_password_hash_is_salted_and_verifies_only_its_password() -> None:
    one, two = hash_password("secret"), hash_password("secret")
    assert one != two
    assert verify_password(b"secret", one)
    assert not verify_password(b"Secret", one)


class Authority:
    """A certificate authority of the test."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, key: Any, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, *names: str) -> tuple[str, str]:
        """Return the paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in names])
        stem = self.folder / f"{self.path.stem}-{'-'.join(names)}"
        certificate, secret = stem.with_suffix(".crt"), stem.with_suffix(".key")
        signed = self._sign(subject, key.public_key(), ca=False)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(certificate), str(secret)

    def context(self, identity: tuple[str, str] | None = None) -> ssl.SSLContext:
        """Return a client's TLS settings that trust this authority."""
        found = ssl.create_default_context(cafile=str(self.path))
        found.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if identity:
            found.load_cert_chain(*identity)
        return found


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def tls_hub(start_hub: Any, authority: Authority) -> Any:
    certificate, key = authority.issue("server")
    return start_hub(
        verify=authority.context(),
        tls_cert=certificate,
        tls_key=key,
        client_ca=str(authority.path),
    )


def device_with(hub: Any, new_device: Any, name: str, context: ssl.SSLContext) -> Any:
    device = new_device(hub, name)
    device.http = hub.http(verify=context)
    return device


def test_https_serves_operators_and_token_devices_without_a_certificate(tls_hub: Any) -> None:
    assert tls_hub.url.startswith("https://")
    device = tls_hub.device("d")
    tls_hub.assign(tls_hub.dset("s", {"f": b"1"}), "d")
    links = device.deployment()["deployment"]["chunks"][0]["artifacts"][0]["_links"]
    assert set(links) == {"download", "md5sum"}
    assert device.call("GET", links["download"]["href"]).content == b"1"
    device.http.headers.pop("Authorization")
    device.call("GET", "", 401)


def test_client_certificate_acts_for_the_device_it_names_and_no_other(
    tls_hub: Any, new_device: Any, authority: Authority
) -> None:
    mine = device_with(tls_hub, new_device, "d1", authority.context(authority.issue("d1")))
    mine.attributes({"a": "1"})
    assert tls_hub.ok("GET", "/targets/d1/attributes") == {"a": "1"}
    other = device_with(tls_hub, new_device, "d2", authority.context(authority.issue("d1")))
    other.call("GET", "", 401)
    two = authority.context(authority.issue("d3", "d4"))
    for name in ("d3", "d4"):
        device_with(tls_hub, new_device, name, two).call("GET", "", 401)
    assert status(tls_hub, "/rest/v1/userinfo", None) == 401


def test_certificate_of_another_authority_is_refused(
    tls_hub: Any, new_device: Any, authority: Authority, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path, "foreign").issue("d1")
    device = device_with(tls_hub, new_device, "d1", authority.context(foreign))
    with pytest.raises((httpx.HTTPError, ssl.SSLError)):
        device.call("GET", "")
    tls_hub.refuse("GET", "/targets/d1", 404)


def test_certificate_sends_telemetry_for_its_device_only(
    tls_hub: Any, new_device: Any, authority: Authority
) -> None:
    device = device_with(tls_hub, new_device, "d1", authority.context(authority.issue("d1")))
    for name, expected in (("d1", 200), ("d2", 403)):
        about = {"attributes": [{"key": "device.id", "value": {"stringValue": name}}]}
        marks = {"edgectl.id": f"r-{name}", "edgectl.kind": "event"}
        log = {"attributes": [{"key": k, "value": {"stringValue": v}} for k, v in marks.items()]}
        sent = {"resourceLogs": [{"resource": about, "scopeLogs": [{"logRecords": [log]}]}]}
        assert device.http.post("/v1/logs", json=sent).status_code == expected


@pytest.mark.parametrize("authorization", [b"", b"Basic \xff", b"Bearer \xff", b"TargetToken \xff"])
def test_no_route_answers_without_credentials(shared: Any, authorization: bytes) -> None:
    stranger = shared.http()
    headers = {"Authorization": authorization} if authorization else {}
    for route in ROUTES:
        path = re.sub(r"{[^}]*}", "1", route.path)
        for method in route.methods or ():
            found = stranger.request(method, path, headers=headers).status_code
            assert found == 401, f"{method} {route.path}"


def test_a_device_token_opens_no_operators_route_and_no_other_device(
    shared: Any, name: str
) -> None:
    device, other = shared.device(name), shared.device(f"{name}-other")
    for route in ROUTES:
        path = route.path.replace("{tenant}", "DEFAULT").replace("{controller}", other.id)
        path = re.sub(r"{[^}]*}", "1", path)
        for method in route.methods or ():
            if path != "/v1/logs":
                found = device.http.request(method, path).status_code
                assert found == 401, f"{method} {path}"
