"""The token exchange service: gives components the device's AWS credentials over local HTTP.

As in ``aws.greengrass.TokenExchangeService``: the container credentials protocol of the AWS SDKs on
the loopback interface, where a component's ``SVCUID`` is its authorization. It runs whether or not
that component is deployed; components learn its address only when it is.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from edgectl_aws_greengrass.emulator.nucleus.cloud import AwsCredentials
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError, UnavailableError

log = logging.getLogger(__name__)

COMPONENT = "aws.greengrass.TokenExchangeService"
PATH = "/2016-11-01/credentialprovider/"
URI_VARIABLE = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN_VARIABLE = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105  # a variable's name


class TokenExchange:
    """The server.

    Args:
        knows: Says whether a token is a component's.
        credentials: Gets the role's credentials from the cloud.
    """

    def __init__(
        self, knows: Callable[[str], bool], credentials: Callable[[], AwsCredentials]
    ) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one component."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Give the credentials."""
                status, body = service.answer(self.path, self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
                """Say nothing: credentials are asked for all the time."""

        self._knows = knows
        self._credentials = credentials
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def uri(self) -> str:
        """Where components ask."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def start(self) -> None:
        """Begin to serve."""
        threading.Thread(target=self._server.serve_forever, name="tes", daemon=True).start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, authorization: str) -> tuple[int, bytes]:
        """Return the status and body for a request."""
        if path.rstrip("/") != PATH.rstrip("/"):
            return 404, b'{"message": "not found"}'
        if not self._knows(authorization):
            return 403, b'{"message": "the authorization is no component\'s"}'
        try:
            found = self._credentials()
        except UnavailableError as exc:
            log.warning("no credentials for a component: %s", exc)
            return 500, b'{"message": "the credentials endpoint cannot be reached"}'
        except DeploymentError as exc:
            log.warning("no credentials for a component: %s", exc)
            return 403, json.dumps({"message": str(exc)}).encode()
        body = {
            "AccessKeyId": found.access_key,
            "SecretAccessKey": found.secret_key,
            "Token": found.token,
            "Expiration": found.expiration,
        }
        return 200, json.dumps(body).encode()
