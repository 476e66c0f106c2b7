"""SWUpdate, somebody else's hawkBit client, against the hub: poll, install, report."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SWUPDATE = shutil.which("swupdate") or "/usr/bin/swupdate"

pytestmark = pytest.mark.skipif(
    not Path(SWUPDATE).exists(), reason="needs SWUpdate: apt-get install swupdate"
)


def archive(files: dict[str, bytes]) -> bytes:
    """Return a cpio archive in the form that SWUpdate reads (newc with checksums)."""
    found = bytearray()
    for number, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")]):
        encoded = name.encode() + b"\0"
        fields = [number, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), sum(data)]
        found += b"070702" + b"".join(b"%08X" % (value & 0xFFFFFFFF) for value in fields)
        found += encoded + b"\0" * (-(len(found) + len(encoded)) % 4)
        found += data + b"\0" * (-len(data) % 4)
    return bytes(found)


class Publisher:
    """A key and the certificate by which SWUpdate knows it."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publisher")])
        now = dt.datetime.now(dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )

    def image(self, target: Path, data: bytes) -> bytes:
        """Return a signed update that writes ``data`` to ``target``."""
        description = (
            'software = { version = "1.0"; hardware-compatibility: [ "1.0" ]; files: ( '
            f'{{ filename = "payload"; path = "{target}"; '
            f'sha256 = "{hashlib.sha256(data).hexdigest()}"; }} ); }}\n'
        ).encode()
        signature = (
            pkcs7.PKCS7SignatureBuilder()
            .set_data(description)
            .add_signer(self.certificate, self.key, hashes.SHA256())
            .sign(
                serialization.Encoding.DER,
                [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary],
            )
        )
        return archive(
            {"sw-description": description, "sw-description.sig": signature, "payload": data}
        )


@pytest.fixture
def swupdate(tmp_path: Path) -> Iterator[Any]:
    started: list[subprocess.Popen[bytes]] = []

    def end() -> None:
        for process in started:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        started.clear()

    publisher = Publisher()
    certificate = tmp_path / "publisher.pem"
    certificate.write_bytes(publisher.certificate.public_bytes(serialization.Encoding.PEM))

    def start(hub: Any, device: str, token: str, *more: str) -> Publisher:
        end()
        config = tmp_path / "swupdate.cfg"
        config.write_text(
            "globals: { verbose = false; no-transaction-marker = true; no-state-marker = true; };\n"
            'suricatta: { polldelay = 1; };\nidentify: ( { name = "board"; value = "swu"; } );\n'
        )
        arguments = f"-t DEFAULT -u {hub.url} -i {device} -k {token} -p 1 {' '.join(more)}"
        with (tmp_path / "swupdate.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [
                        SWUPDATE,
                        *("-f", str(config), "-k", str(certificate), "-H", "board:1.0"),
                        *("-l", "4", "-M", "-m", "-u", arguments),
                    ],
                    cwd=tmp_path,
                    env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        return publisher

    yield start
    end()


def test_swupdate_registers_installs_and_reports(
    start_hub: Any, swupdate: Any, wait: Any, tmp_path: Path
) -> None:
    hub = start_hub(poll_s=1)
    token = hub.target("swu")["securityToken"]
    publisher = swupdate(hub, "swu", token)
    wait(lambda: hub.ok("GET", "/targets/swu/attributes").get("board") == "swu", within_s=15)
    installed = tmp_path / "installed.bin"
    data = bytes(range(256)) * 300
    action = hub.assign(hub.dset("s", {"update.swu": publisher.image(installed, data)}), "swu")[0]
    path = f"/targets/swu/actions/{action}"
    wait(lambda: installed.exists() and installed.read_bytes() == data, within_s=40)
    # A device starts again after an update; SWUpdate is then told that it went well.
    swupdate(hub, "swu", token, "-c", "2")
    wait(lambda: hub.ok("GET", path)["detailStatus"] == "finished", within_s=40)
    assert hub.ok("GET", "/targets/swu")["updateStatus"] == "in_sync"
