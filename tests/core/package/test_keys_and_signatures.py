"""Keys and signatures, checked with the real ``model_signing`` program."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from edge_components.contract.jsonio import canonical_json
from edge_components.contract.release import DeviceSettings, ReleaseDocument, parse_release
from edge_components.contract.signature import BUNDLE_TYPE, Envelope, parse_bundle
from edgectl.errors import SignatureError
from edgectl.package.keys import SigningKey, ensure_key, load_key
from edgectl.package.read import export_folder, open_package
from edgectl.package.sign import (
    find_signature,
    package_files,
    sign_package,
    sign_release,
    verify_bundle,
    verify_release,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def model_signing(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("model_signing")
    if not program.exists():
        pytest.skip("model_signing is missing: pip install model-signing pyopenssl")
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def verify(folder: Path, public: Path) -> subprocess.CompletedProcess[str]:
    return model_signing(
        "verify", "key", folder, "--signature", folder / "model.sig", "--public_key", public
    )


def document(**changes: object) -> ReleaseDocument:
    values: dict[str, object] = {
        "application": "plates",
        "number": 7,
        "version": "1.4.0",
        "package": "sha256:" + "12" * 32,
    }
    return ReleaseDocument(**(values | changes))  # type: ignore[arg-type]  # built from a table


def test_a_new_key_is_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "ec.pem"
    ensure_key(path)
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


def test_the_public_key_lies_beside(tmp_path: Path) -> None:
    key = ensure_key(tmp_path / "keys" / "ec.pem")
    assert (tmp_path / "keys" / "ec.pub").read_text() == key.public_pem


def test_a_key_that_is_there_is_kept(tmp_path: Path) -> None:
    first = ensure_key(tmp_path / "ec.pem")
    assert ensure_key(tmp_path / "ec.pem").hint == first.hint


def test_asking_from_many_threads_makes_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _n: ensure_key(tmp_path / "ec.pem"), range(8)))
    assert len({key.hint for key in keys}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ec.pem", "ec.pub"]


def test_a_key_never_shows_its_secret(tmp_path: Path) -> None:
    assert "BEGIN" not in repr(ensure_key(tmp_path / "ec.pem"))


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    )
    (tmp_path / "ec.pem").write_bytes(pem)
    assert load_key(tmp_path / "ec.pem", b"open sesame").hint
    for password in (None, b"wrong"):
        with pytest.raises(SignatureError, match="cannot be read"):
            load_key(tmp_path / "ec.pem", password)


@pytest.mark.parametrize(
    "private", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())]
)
def test_other_kinds_of_key_are_refused(tmp_path: Path, private: Any) -> None:
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(SignatureError, match=r"not an elliptic-curve key|curve 'secp384r1'"):
        load_key(tmp_path / "key.pem")


def test_model_signing_accepts_an_exported_folder(signed: Any, tmp_path: Path) -> None:
    export_folder(signed.layout, signed.digest, tmp_path / "out")
    done = verify(tmp_path / "out", tmp_path / "keys" / "ec.pub")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_model_signing_refuses_a_changed_folder(signed: Any, tmp_path: Path) -> None:
    export_folder(signed.layout, signed.digest, tmp_path / "out")
    (tmp_path / "out" / "model" / "int8" / "model.onnx").write_bytes(b"evil")
    assert verify(tmp_path / "out", tmp_path / "keys" / "ec.pub").returncode != 0


def test_we_accept_what_model_signing_signed(built: Any, tmp_path: Path) -> None:
    key = ensure_key(tmp_path / "keys" / "ec.pem")
    folder = tmp_path / "out"
    export_folder(built.layout, built.digest, folder)
    signature = tmp_path / "their.sig"
    done = model_signing(
        "sign", "key", folder, "--private_key", tmp_path / "keys" / "ec.pem",
        "--signature", signature,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = package_files(built.store.read_manifest(built.digest))
    assert verify_bundle(signature.read_bytes(), files, (key.public_pem,)) == key.hint


def test_the_bundle_names_the_key(signed: Any, key: SigningKey) -> None:
    bundle = find_signature(signed.layout, signed.digest)
    assert bundle is not None
    assert key.hint.encode() in bundle
    assert parse_bundle(bundle).verification_material.public_key.hint == key.hint


def test_signing_twice_gives_the_same_signature(signed: Any, key: SigningKey) -> None:
    before = (signed.layout / "index.json").read_bytes()
    first = find_signature(signed.layout, signed.digest)
    assert sign_package(signed.layout, signed.digest, key) == first
    assert (signed.layout / "index.json").read_bytes() == before


def test_the_signature_is_listed_under_the_referrers_tag(signed: Any) -> None:
    tagged = signed.store.index().find("sha256-" + signed.digest.removeprefix("sha256:"))
    assert tagged is not None
    listed = json.loads(signed.store.read(tagged.digest, max_bytes=10_000))
    assert [one["artifactType"] for one in listed["manifests"]] == [BUNDLE_TYPE]
    signature = json.loads(signed.store.read(listed["manifests"][0]["digest"], max_bytes=10_000))
    assert signature["subject"]["digest"] == signed.digest


def test_signing_reads_no_weights(built: Any, key: SigningKey) -> None:
    manifest = built.store.read_manifest(built.digest)
    weights = max(manifest.layers, key=lambda layer: layer.size)
    built.store.blob_path(weights.digest).unlink()
    assert sign_package(built.layout, built.digest, key)


def test_two_publishers_can_sign_one_package(signed: Any, key: SigningKey, tmp_path: Path) -> None:
    other = ensure_key(tmp_path / "other.pem")
    sign_package(signed.layout, signed.digest, other)
    for one in (key, other):
        opened = open_package(signed.layout, signed.digest, publishers=(one.public_pem,))
        assert opened.signed_by == one.hint


def test_a_package_that_was_never_signed_has_no_signature(built: Any) -> None:
    assert find_signature(built.layout, built.digest) is None


def test_a_signature_by_an_unknown_key_is_refused(signed: Any, tmp_path: Path) -> None:
    stranger = ensure_key(tmp_path / "stranger.pem")
    with pytest.raises(SignatureError, match="trusted publisher"):
        open_package(signed.layout, signed.digest, publishers=(stranger.public_pem,))


def test_an_unsigned_package_is_refused_where_a_publisher_is_asked_for(
    built: Any, key: SigningKey
) -> None:
    with pytest.raises(SignatureError, match="not signed"):
        open_package(built.layout, built.digest, publishers=(key.public_pem,))


def test_no_publisher_at_all_trusts_nobody(signed: Any) -> None:
    with pytest.raises(SignatureError):
        open_package(signed.layout, signed.digest, publishers=())


@pytest.mark.parametrize("change", ["drop", "add", "swap"])
def test_a_signature_over_other_files_is_refused(signed: Any, key: SigningKey, change: str) -> None:
    files = package_files(signed.store.read_manifest(signed.digest))
    if change == "drop":
        files.pop("edgectl/golden.npz")
    elif change == "add":
        files["extra"] = "sha256:" + "0" * 64
    else:
        files["edgectl/golden.npz"] = "sha256:" + "0" * 64
    bundle = find_signature(signed.layout, signed.digest)
    assert bundle is not None
    with pytest.raises(SignatureError, match="other content"):
        verify_bundle(bundle, files, (key.public_pem,))


def test_a_changed_byte_anywhere_in_the_payload_breaks_the_signature(
    signed: Any, key: SigningKey
) -> None:
    bundle = find_signature(signed.layout, signed.digest)
    assert bundle is not None
    files = package_files(signed.store.read_manifest(signed.digest))
    start = bundle.index(b'"payload":"') + 11
    for offset in range(0, 400, 13):
        changed = bytearray(bundle)
        changed[start + offset] = ord("B") if changed[start + offset] == ord("A") else ord("A")
        with pytest.raises(SignatureError):
            verify_bundle(bytes(changed), files, (key.public_pem,))


def test_a_release_comes_back_as_it_was_signed(key: SigningKey) -> None:
    signed = document(settings=DeviceSettings(soak_s=3, precision="int8"))
    release = sign_release(signed, b"bundle", key)
    assert verify_release(release.envelope, (key.public_pem,)) == signed
    assert (release.number, release.package, release.signature) == (7, signed.package, b"bundle")


def test_a_release_of_a_stranger_is_refused(key: SigningKey, tmp_path: Path) -> None:
    stranger = ensure_key(tmp_path / "stranger.pem")
    release = sign_release(document(), b"", stranger)
    with pytest.raises(SignatureError, match="trusted publisher"):
        verify_release(release.envelope, (key.public_pem,))


def test_a_package_signature_is_no_release(signed: Any, key: SigningKey) -> None:
    bundle = find_signature(signed.layout, signed.digest)
    assert bundle is not None
    envelope: Envelope = parse_bundle(bundle).dsse_envelope
    with pytest.raises(Exception, match="does not hold a release"):
        verify_release(canonical_json(envelope), (key.public_pem,))


def test_a_release_cannot_be_replayed_under_another_payload_type(key: SigningKey) -> None:
    release = sign_release(document(), b"", key)
    moved = release.envelope.replace(
        b"application/vnd.edgectl.release.v1+json", b"application/vnd.in-toto+json"
    )
    with pytest.raises(Exception, match="does not hold a release"):
        verify_release(moved, (key.public_pem,))


@pytest.mark.parametrize("number", [0, -1, 1 << 60])
def test_a_release_that_devices_would_refuse_is_not_signed(key: SigningKey, number: int) -> None:
    with pytest.raises(Exception, match="not a release number"):
        sign_release(document(number=number), b"", key)


def test_a_release_signed_before_there_was_record_is_read_with_its_default() -> None:
    old = b'{"application":"a","format":"edgectl.release/v1","number":1,"package":"sha256:%s",' % (
        b"0" * 64
    )
    old += b'"settings":{"precision":null,"soak_s":1.0,"telemetry_sample":0.5},"version":"1"}'
    settings = parse_release(old).settings
    assert (settings.record, settings.redact) == ("output", ())
