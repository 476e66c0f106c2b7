"""Whose signatures are taken, and what has to be signed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from edge_packages import Package, Publisher, make_package, make_release
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.errors import ContractError
from edge_components.contract.state import Reason
from edge_components.update.errors import RefusedError
from edge_components.update.trust import ChildTrust
from edge_components.verify import (
    VerifyError,
    load_publisher,
    load_publishers,
    verify_package,
    verify_release,
)


@pytest.fixture(scope="module")
def package(publisher: Publisher) -> Package:
    return make_package(publisher, {"int8": b"weights"})


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_release_and_package_of_a_trusted_publisher_are_taken(curve: ec.EllipticCurve) -> None:
    publisher = Publisher(curve)
    package = make_package(publisher, {"int8": b"weights"})
    trusted = [load_publisher(Publisher().pem), load_publisher(publisher.pem)]
    document = verify_release(make_release(publisher, package, 7), trusted)
    assert (document.number, document.package) == (7, package.digest)
    verify_package(package.signature, package.manifest, trusted)


def test_release_of_another_publisher_is_untrusted_and_named(
    publisher: Publisher, package: Package
) -> None:
    with pytest.raises(VerifyError) as caught:
        verify_release(make_release(Publisher(), package, 7), [load_publisher(publisher.pem)])
    assert caught.value.reason is Reason.UNTRUSTED_PUBLISHER
    assert caught.value.claimed is not None
    assert caught.value.claimed.number == 7


def test_key_hint_of_a_trusted_publisher_proves_nothing(
    publisher: Publisher, package: Package
) -> None:
    forged = make_release(Publisher(), package, 7, keyid=publisher.hint)
    with pytest.raises(VerifyError) as caught:
        verify_release(forged, [load_publisher(publisher.pem)])
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_package_signature_is_not_taken_for_a_release(
    publisher: Publisher, package: Package
) -> None:
    envelope = msgspec.json.encode(msgspec.json.decode(package.signature)["dsseEnvelope"])
    with pytest.raises(VerifyError) as caught:
        verify_release(envelope, [load_publisher(publisher.pem)])
    assert caught.value.reason is Reason.BAD_PACKAGE


@pytest.mark.parametrize("change", ["missing", "more", "other"])
def test_signature_over_other_files_is_refused(publisher: Publisher, change: str) -> None:
    plain = make_package(publisher, {"int8": b"weights"})
    files = {
        layer.annotations["org.cncf.model.filepath"]: layer.digest
        for layer in plain.manifest.layers
    }
    if change == "missing":
        files.pop("int8/model.onnx")
    elif change == "more":
        files["extra"] = "sha256:" + "1" * 64
    else:
        files["int8/model.onnx"] = "sha256:" + "2" * 64
    package = make_package(publisher, {"int8": b"weights"}, signed_files=files)
    with pytest.raises(VerifyError, match="over other files") as caught:
        verify_package(package.signature, package.manifest, [load_publisher(publisher.pem)])
    assert caught.value.reason is Reason.BAD_SIGNATURE


@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_changed_bit_yields_another_release(position: int, bit: int) -> None:
    envelope = bytearray(ENVELOPE)
    envelope[position % len(envelope)] ^= 1 << bit
    try:
        document = verify_release(bytes(envelope), [TRUSTED])
    except VerifyError:
        return
    # A changed key hint or unknown key changes nothing that counts.
    assert document == verify_release(ENVELOPE, [TRUSTED])


@given(data=st.binary(max_size=300))
def test_no_bytes_crash_the_verifier(data: bytes) -> None:
    with pytest.raises(VerifyError):
        verify_release(data, [TRUSTED])
    with pytest.raises(VerifyError):
        verify_package(data, MANIFEST, [TRUSTED])


_SIGNER = Publisher()
_PACKAGE = make_package(_SIGNER, {"int8": b"weights"})
TRUSTED = load_publisher(_SIGNER.pem)
ENVELOPE = make_release(_SIGNER, _PACKAGE, 3)
MANIFEST = _PACKAGE.manifest


def test_key_that_is_no_elliptic_curve_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="cannot be read"):
        load_publisher(b"no key")
    with pytest.raises(ContractError, match="not ECDSA P-256"):
        load_publisher(_ed25519())
    with pytest.raises(ContractError, match="none"):
        load_publishers([str(tmp_path / "none.pem")])


def _ed25519() -> bytes:
    return (
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def test_child_process_finds_the_same(
    publisher: Publisher, package: Package, tmp_path: Path
) -> None:
    trust = ChildTrust([str(publisher.save(tmp_path / "key.pem"))])
    assert trust.release(make_release(publisher, package, 7)).number == 7
    trust.package(package.signature, package.manifest)
    with pytest.raises(RefusedError) as caught:
        trust.release(make_release(Publisher(), package, 8))
    assert caught.value.reason is Reason.UNTRUSTED_PUBLISHER
    assert caught.value.claimed is not None
    with pytest.raises(RefusedError) as caught:
        trust.package(package.signature, make_package(publisher, {"int8": b"x"}).manifest)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_child_that_cannot_be_started_is_no_trust(publisher: Publisher, package: Package) -> None:
    with pytest.raises(RefusedError) as caught:
        ChildTrust([], command=["/nonexistent/program"]).release(b"{}")
    assert caught.value.reason is Reason.INTERNAL


def test_signature_made_by_model_signing_is_taken(tmp_path: Path) -> None:
    """The bundle that the reference implementation writes passes, byte for byte as it wrote it."""
    signing = pytest.importorskip("model_signing.signing")
    private = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    folder = tmp_path / "model"
    publisher = Publisher()
    package = make_package(publisher, {"int8": b"weights"})
    for layer in package.manifest.layers:
        path = folder / layer.annotations["org.cncf.model.filepath"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(package.blobs[layer.digest])
    signature = tmp_path / "model.sig"
    signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key.pem").sign(
        folder, signature
    )
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    verify_package(signature.read_bytes(), package.manifest, [load_publisher(pem)])
