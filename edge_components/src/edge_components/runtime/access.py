"""Who may talk to the server: TLS, client certificates and a bearer token, each if it is set.

Loopback without any of them is the default. The token is read once at start. The two health
endpoints of the server stay open, because probes carry no token; they tell nothing of the model.
A head is judged when it is first seen and then kept by its bytes, the token included, so a client
that stays pays nothing for it (``http.HeadCache``).
"""

from __future__ import annotations

import hmac
import ipaddress
import ssl
from pathlib import Path

from edge_components.runtime.http import Head, HttpError, Response, error_response
from edge_components.runtime.server import Endpoint, Resolver
from edge_components.runtime.settings import ServeSettings, SettingsError

OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})
_MIN_TOKEN_CHARS = 16
_CHALLENGE = b'WWW-Authenticate: Bearer realm="edge-runtime"\r\n'


class Token:
    """The secret that a client has to show; its text is in no message and no repr."""

    def __init__(self, text: str) -> None:
        self._secret = text.encode()

    def matches(self, authorization: bytes | None) -> bool:
        """Whether an ``Authorization`` value carries the token (RFC 6750, 2.1)."""
        scheme, _, given = (authorization or b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._secret)


def read_token(path: Path | None) -> Token | None:
    """Read the token from the first line of a file.

    Raises:
        SettingsError: The file cannot be read, or what it holds is no token.
    """
    if path is None:
        return None
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not ASCII"
        raise SettingsError(f"--token-file: '{path}' cannot be read: {reason}") from exc
    if len(text) < _MIN_TOKEN_CHARS or not all("!" <= char <= "~" for char in text):
        raise SettingsError(
            f"--token-file: '{path}' has to hold one token of at least {_MIN_TOKEN_CHARS} "
            "visible characters"
        )
    return Token(text)


def guarded(resolver: Resolver, token: Token | None) -> Resolver:
    """Return a resolver that answers 401 to a head without the token; health stays open."""
    if token is None:
        return resolver

    def resolve(head: Head) -> Endpoint | Response:
        if head.target in OPEN or token.matches(head.authorization):
            return resolver(head)
        return error_response(HttpError(401, "a valid bearer token is needed", headers=_CHALLENGE))

    return resolve


def tls_context(settings: ServeSettings) -> ssl.SSLContext | None:
    """Return the server's TLS (1.2 or newer), or None where none is set.

    Raises:
        SettingsError: A file cannot be used; an encrypted key cannot, as nobody is there to ask.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _check_readable("--tls-cert", settings.tls_cert)
    _check_readable("--tls-key", settings.tls_key)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except OSError as exc:
        raise SettingsError(
            f"--tls-cert '{settings.tls_cert}' with --tls-key '{settings.tls_key}' "
            f"cannot be used: {_fault(exc)}"
        ) from exc
    if settings.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _check_readable("--client-ca", settings.client_ca)
        try:
            context.load_verify_locations(settings.client_ca)
        except OSError as exc:
            raise SettingsError(
                f"--client-ca '{settings.client_ca}' cannot be used: {_fault(exc)}"
            ) from exc
    return context


def _check_readable(option: str, path: Path) -> None:
    # OpenSSL's errors do not say which of the files they are about.
    try:
        with path.open("rb"):
            pass
    except OSError as exc:
        raise SettingsError(f"{option}: '{path}' cannot be read: {exc.strerror}") from exc


def _fault(exc: OSError) -> str:
    reason = exc.reason if isinstance(exc, ssl.SSLError) else None
    return reason.replace("_", " ").lower() if reason else str(exc)


def is_exposed(settings: ServeSettings) -> bool:
    """Whether others than this machine can reach a server that asks for nothing."""
    if settings.token_file is not None or settings.client_ca is not None:
        return False
    try:
        return not ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        return settings.host != "localhost"
