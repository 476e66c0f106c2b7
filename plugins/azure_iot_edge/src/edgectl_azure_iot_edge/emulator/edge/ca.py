"""The device's own authority: it signs edgeHub's certificate and those that modules ask for.

A real device has one of these too ("quickstart" or its owner's device CA); what modules get as
trust bundle is its certificate, so that a module trusts its own device's edgeHub and no other.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgectl.emulation import Authority


class DeviceCa:
    """The authority.

    Args:
        folder: Keeps its key and certificate.

    Attributes:
        bundle: PEM text of what modules are to trust.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder, "edgectl virtual device")
        self._key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        self._certificate = x509.load_pem_x509_certificate(self._authority.ca_file.read_bytes())
        self.bundle = self._authority.ca_file.read_text()

    def server_context(self, names: tuple[str, ...]) -> ssl.SSLContext:
        """Return edgeHub's TLS context."""
        context = self._authority.server_context(names, demand=False)
        context.verify_mode = ssl.CERT_NONE  # modules prove themselves by their signatures
        return context

    def issue(self, names: tuple[str, ...], until: datetime, *, is_server: bool) -> tuple[str, str]:
        """Return a certificate with its chain, and its private key, as PEM text.

        Raises:
            ValueError: It would have expired, or a name is none.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority has no EC key")
        kinds = ExtendedKeyUsageOID
        usage = kinds.SERVER_AUTH if is_server else kinds.CLIENT_AUTH
        alternatives = [x509.DNSName(name) for name in dict.fromkeys(names)]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(minutes=5))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        chain = certificate.public_bytes(serialization.Encoding.PEM).decode() + self.bundle
        return chain, private.decode()
