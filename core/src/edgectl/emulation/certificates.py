"""An emulator's certificate authority: its server certificate, and the devices' certificates.

Clouds sign devices' and servers' certificates with CAs of their own; here one CA does both, and
its certificate is what devices and SDKs are told to trust.
"""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=3650)

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Authority:
    """A CA whose key and certificate live in a folder, so that devices survive a restart.

    Args:
        folder: Is made; gets ``ca.pem`` and ``ca.key``.
        device_subject: The common name in devices' certificates.
    """

    def __init__(self, folder: Path, device_subject: str = "edgectl device") -> None:
        self._device_subject = device_subject
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        key_file = folder / "ca.key"
        if not (self.ca_file.exists() and key_file.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            _write_secret(key_file, _private_pem(key))
            self.ca_file.write_bytes(_self_signed(key).public_bytes(serialization.Encoding.PEM))
        loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"'{key_file}' is no EC key")
        self._key = loaded
        self._certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())

    def server_context(self, names: tuple[str, ...], *, demand: bool) -> ssl.SSLContext:
        """Return a TLS context with a certificate for names and addresses.

        Args:
            names: What clients call the server.
            demand: Whether a client needs a certificate; else the application decides.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = self._builder("edgectl emulator", key.public_key()).add_extension(
            alternatives, critical=False
        )
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        certificate = builder.add_extension(usage, critical=False).sign(self._key, hashes.SHA256())
        chain, key_file = self._folder / "server.pem", self._folder / "server.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_secret(key_file, _private_pem(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key_file)
        context.load_verify_locations(self.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED if demand else ssl.CERT_OPTIONAL
        return context

    def new_device(self) -> tuple[str, str, str]:
        """Make a key pair and its certificate.

        Returns:
            Certificate, public key and private key as PEM text.
        """
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return self.sign(key.public_key()), public.decode(), _private_pem(key).decode()

    def sign_request(self, csr_pem: str) -> str:
        """Sign a certificate request.

        Raises:
            ValueError: It is none, or its signature or kind of key is not good.
        """
        request = x509.load_pem_x509_csr(csr_pem.encode())
        key = request.public_key()
        if not request.is_signature_valid or not isinstance(
            key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey
        ):
            raise ValueError("the certificate request is not signed by its own RSA or EC key")
        return self.sign(key)

    def sign(self, key: PublicKey) -> str:
        """Return a device certificate for a public key."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(self._device_subject, key).add_extension(usage, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _builder(self, name: str, key: PublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(issuer, critical=False)
        )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgectl emulator CA")])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write_secret(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)
