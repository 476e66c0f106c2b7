"""The publisher's key: an elliptic-curve key on P-256, in PEM files that other tools read.

The private key lies in ``<name>.pem`` with mode 0600, the public one beside it in ``<name>.pub``
(SubjectPublicKeyInfo), so ``model_signing`` and ``openssl`` can use both. A key's name, its hint,
is the sha256 of the public PEM, as OpenSSF model-signing writes it.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_components.contract.signature import key_hint
from edgectl.errors import SignatureError
from edgectl.package.files import (
    create_exclusively,
    read_regular,
    sync_folder,
    write_all,
    write_atomically,
)

MAX_KEY_BYTES = 64 << 10
_PRIVATE_SUFFIXES = frozenset({".pem", ".key"})


class SigningKey:
    """A private key that signs; its secret is in no attribute that is printed."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public_pem = _public_pem(private.public_key())
        self.hint = key_hint(self.public_pem.encode())

    def __repr__(self) -> str:
        return f"SigningKey(hint={self.hint!r})"

    def sign(self, data: bytes) -> bytes:
        """Return the DER ECDSA signature over the sha256 of ``data``.

        It is deterministic (RFC 6979): signing the same thing again gives the same bytes.
        """
        return self._private.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def public_path(path: Path) -> Path:
    """Return where the public key of the private key in ``path`` lies."""
    return path.with_suffix(".pub") if path.suffix in _PRIVATE_SUFFIXES else _appended(path)


def ensure_key(path: Path) -> SigningKey:
    """Return the key in ``path``, and make it first if the file is missing.

    Two processes that ask at once get the same key.

    Raises:
        SignatureError: The file cannot be read or made, or holds no usable key.
    """
    try:
        if not path.exists():
            _make_key(path)
        key = load_key(path)
        public = public_path(path)
        if not public.exists() or public.read_text() != key.public_pem:
            write_atomically(public, key.public_pem.encode())
    except OSError as exc:
        raise SignatureError(f"the key '{path}' cannot be made: {exc.strerror}") from exc
    return key


def load_key(path: Path, password: bytes | None = None) -> SigningKey:
    """Read a private key.

    Raises:
        SignatureError: The file is missing, unreadable, encrypted otherwise, or not a P-256 key.
    """
    try:
        data = read_regular(path.resolve(), max_bytes=MAX_KEY_BYTES)
        private = serialization.load_pem_private_key(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise SignatureError(
            f"the key '{path}' cannot be read: {exc}",
            hint="It has to be a PEM private key; give its password if it has one.",
        ) from exc
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise SignatureError(f"the key '{path}' is not an elliptic-curve key")
    _check_curve(private.curve, str(path))
    return SigningKey(private)


class PublicKey:
    """A publisher's public key, which verifies.

    Args:
        pem: A PEM SubjectPublicKeyInfo.

    Raises:
        SignatureError: It is not a P-256 public key.
    """

    def __init__(self, pem: str) -> None:
        try:
            public = serialization.load_pem_public_key(pem.encode())
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise SignatureError(f"a publisher's public key cannot be read: {exc}") from exc
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise SignatureError("a publisher's public key is not an elliptic-curve key")
        _check_curve(public.curve, "a publisher's public key")
        self._public = public
        self.pem = _public_pem(public)
        self.hint = key_hint(self.pem.encode())

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Say whether ``signature`` is this key's over ``data``."""
        try:
            self._public.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def _make_key(path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with create_exclusively(temporary, mode=0o600) as file:
            write_all(file)(memoryview(pem))
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _public_pem(public: ec.EllipticCurvePublicKey) -> str:
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def _check_curve(curve: ec.EllipticCurve, what: str) -> None:
    if not isinstance(curve, ec.SECP256R1):
        raise SignatureError(
            f"{what}: the curve '{curve.name}' is not supported",
            hint="Make a P-256 key: openssl ecparam -name prime256v1 -genkey -noout -out key.pem",
        )


def _appended(path: Path) -> Path:
    return path.with_name(path.name + ".pub")
