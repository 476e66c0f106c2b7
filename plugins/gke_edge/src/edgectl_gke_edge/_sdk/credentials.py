"""Google's application default credentials, as tokens that are renewed in time."""

from __future__ import annotations

import threading

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
from google.auth.credentials import Credentials

from edgectl.api import ProviderError, UnreachableError
from edgectl_gke_edge.errors import no_credentials, refused_credentials

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GoogleToken:
    """The operator's access token; found when it is first asked for, renewed before it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None

    def __call__(self) -> str:
        """Return a token.

        Raises:
            AuthError: There are no credentials, or Google does not renew them.
            UnreachableError: The token server does not answer.
        """
        with self._lock:
            credentials = self._found()
            if not credentials.valid:
                self._renew(credentials)
            return str(credentials.token)

    def credentials(self) -> Credentials:
        """Return the credentials for a client of Google's."""
        with self._lock:
            return self._found()

    def _found(self) -> Credentials:
        if self._credentials is None:
            try:
                self._credentials, _project = google.auth.default(scopes=[SCOPE])
            except google.auth.exceptions.GoogleAuthError as exc:
                raise no_credentials("ask Google", str(exc)) from exc
        return self._credentials

    def _renew(self, credentials: Credentials) -> None:
        try:
            credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]  # google-auth annotates it in part
        except google.auth.exceptions.GoogleAuthError as exc:
            raise auth_failure("ask Google", exc) from exc


def auth_failure(what: str, exc: google.auth.exceptions.GoogleAuthError) -> ProviderError:
    """Return the error for credentials that could not be used."""
    if isinstance(exc, google.auth.exceptions.TransportError):
        return UnreachableError(
            f"cannot {what}: Google's token server does not answer: {str(exc)[:300]}",
            hint="check the network; run the command again: it goes on",
            vendor_code="TransportError",
        )
    if isinstance(exc, google.auth.exceptions.RefreshError):
        said = " ".join(str(part) for part in exc.args if isinstance(part, str)) or str(exc)
        return refused_credentials(what, said)
    return no_credentials(what, str(exc))
