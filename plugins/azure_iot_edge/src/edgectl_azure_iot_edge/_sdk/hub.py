"""Every call to IoT Hub goes through here: paced, signed, retried, and translated when refused.

The service API is plain REST, so it goes through azure-core's pipeline on every platform;
azure-iot-hub needs uamqp, which has no wheel for arm64 or new Pythons (decision 0006). A call
names what it is for, so that an error is a sentence; answers are plain dictionaries.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from azure.core import PipelineClient
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import (
    BearerTokenCredentialPolicy,
    RequestIdPolicy,
    RetryPolicy,
    SansIOHTTPPolicy,
    UserAgentPolicy,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse

from edgectl.api import NotFoundError, ProjectError, ProviderError
from edgectl_azure_iot_edge._sdk.pace import Pace
from edgectl_azure_iot_edge._sdk.sas import ConnectionString, SasPolicy, parse_connection_string
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.errors import (
    from_refusal,
    no_credentials,
    not_reached,
    read_refusal,
    right_of,
)
from edgectl_azure_iot_edge.limits import MAX_PAGE, kind_of

API_VERSION = "2021-04-12"
SCOPE = "https://iothubs.azure.net/.default"
CONNECTION_VARIABLE = "IOTHUB_CONNECTION_STRING"
ATTEMPTS_VARIABLE = "EDGECTL_AZURE_ATTEMPTS"
ATTEMPTS = 6
AT_ONCE = 8
CONNECT_S = 10.0
READ_S = 60.0
_DOMAIN = ".azure-devices."

T = TypeVar("T")
R = TypeVar("R")
Document = dict[str, Any]


class Answer(NamedTuple):
    """What a call gave: the document, its ETag, and where the next page begins."""

    document: Any
    etag: str
    next: str


class _PacePolicy(SansIOHTTPPolicy):  # type: ignore[type-arg]  # generic over the transport's types
    """Waits before each try: a call that is tried again counts again."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def on_request(self, request: PipelineRequest) -> None:  # type: ignore[type-arg]  # as above
        sent = request.http_request
        self._pace.wait(kind_of(sent.method, urlsplit(sent.url).path))


class Hub:
    """One IoT Hub.

    Args:
        config: Which.
        pace: Shared by everything in this process that calls the same hub.
        connection: Whose key signs; None takes azure-identity's chain.
    """

    def __init__(
        self, config: AzureConfig, pace: Pace, connection: ConnectionString | None
    ) -> None:
        self.config = config
        self.policy = connection.policy if connection is not None else ""
        self.host = connection.host if connection is not None else config.hub_host
        self._pace = pace
        self._client = self._open(connection)

    def _open(self, connection: ConnectionString | None) -> PipelineClient[Any, Any]:
        retry = RetryPolicy(retry_total=attempts(), retry_backoff_factor=1.0, retry_backoff_max=30)
        return PipelineClient(
            base_url=f"https://{self.host}",
            policies=[
                RequestIdPolicy(),
                UserAgentPolicy(base_user_agent="edgectl"),
                retry,
                _authentication(connection),
                _PacePolicy(self._pace),
            ],
            transport=RequestsTransport(connection_timeout=CONNECT_S, read_timeout=READ_S),
        )

    def get(self, path: str, what: str, **params: str) -> Answer:
        """Read a document.

        Raises:
            ProviderError: The hub refused, or could not be reached.
        """
        return self._call("GET", path, what, params=params)

    def find(self, path: str, what: str) -> Answer | None:
        """Read a document; None where it is not there."""
        try:
            return self.get(path, what)
        except NotFoundError as exc:
            if exc.vendor_code == "IotHubNotFound":
                raise
            return None

    def write(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Document | None = None,
        etag: str = "",
    ) -> Answer:
        """Change something; with ``etag`` only if it is as it was read, or ``*`` whatever it is."""
        headers = {"If-Match": etag if etag == "*" else f'"{etag}"'} if etag else {}
        return self._call(method, path, what, body=body, headers=headers)

    def query(self, text: str, what: str) -> list[Document]:
        """Return all rows of a query, page by page; each page counts as a query."""
        rows: list[Document] = []
        more = ""
        while True:
            headers = {"x-ms-max-item-count": str(MAX_PAGE)}
            if more:
                headers["x-ms-continuation"] = more
            answer = self._call(
                "POST",
                "/devices/query",
                what,
                body={"query": text},
                headers=headers,
            )
            rows += answer.document or []
            if not answer.next or answer.next == more:
                return rows
            more = answer.next

    def at_once(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do several things side by side; the first error ends it."""
        listed = list(items)
        if len(listed) < 2:
            return [work(item) for item in listed]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            waiting = [pool.submit(work, item) for item in listed]
            try:
                return [one.result() for one in waiting]
            except BaseException:
                for one in waiting:
                    one.cancel()
                raise

    def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Document | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> Answer:
        request = HttpRequest(
            method,
            f"https://{self.host}{path}",
            params={**(params or {}), "api-version": API_VERSION},
            headers={"Accept": "application/json", **(headers or {})},
            json=body,
        )
        response = self._send(request, what)
        if response.status_code >= 400:
            refusal = read_refusal(
                response.status_code,
                response.content,
                dict(response.headers),
                operation=right_of(request.method, path),
                policy=self.policy,
                now=time.time(),
            )
            raise from_refusal(what, refusal)
        document = None
        if response.content:
            try:
                document = response.json()
            except ValueError as exc:
                raise ProviderError(
                    f"cannot {what}: '{self.host}' answers with what is no JSON",
                    hint="is `host` of providers.azure an IoT Hub?",
                ) from exc
        etag = response.headers.get("ETag", "").strip('"')
        if not etag and isinstance(document, dict):
            etag = str(document.get("etag") or "")
        return Answer(document, etag, response.headers.get("x-ms-continuation", ""))

    def _send(self, request: HttpRequest, what: str) -> HttpResponse:
        try:
            response: HttpResponse = self._client.send_request(
                request, retry_on_methods=_methods(request)
            )
            response.read()
        except ClientAuthenticationError as exc:
            raise no_credentials(what, exc.message) from exc
        except AzureError as exc:
            raise not_reached(what, self.host, str(exc.message)) from exc
        return response


def _methods(request: HttpRequest) -> frozenset[str]:
    """Return the HTTP methods that are tried again at a 429.

    The hub sends no Retry-After with it, without which azure-core tries no POST or PATCH again.
    Queries change nothing, and a twin is written under its ETag; a direct method is called once.
    """
    known = {"GET", "PUT", "PATCH", "DELETE"}
    return frozenset(
        known if request.url.partition("?")[0].endswith("/methods") else known | {"POST"}
    )


def attempts() -> int:
    """Return how often a call is tried again."""
    text = os.environ.get(ATTEMPTS_VARIABLE, "")
    return max(int(text) - 1, 0) if text.isdigit() else ATTEMPTS


def connection_of(config: AzureConfig) -> ConnectionString | None:
    """Return what IOTHUB_CONNECTION_STRING says; None where it is not set.

    Raises:
        AuthError: It cannot be read.
        ProjectError: It is of another hub than the project's.
    """
    text = os.environ.get(CONNECTION_VARIABLE, "")
    if not text:
        return None
    found = parse_connection_string(text)
    if _DOMAIN in found.host and config.host is None:
        name = found.host.partition(".")[0]
        if name.lower() != config.iot_hub.lower():
            raise ProjectError(
                f"IOTHUB_CONNECTION_STRING is of hub '{name}', `iot_hub` of providers.azure is "
                f"'{config.iot_hub}'",
                hint="unset the one, or correct the other",
            )
    return found


def _authentication(connection: ConnectionString | None) -> Any:
    if connection is not None:
        return SasPolicy(connection, time.time)
    # What it says there stands in the error too; without a handler it goes to standard error.
    logging.getLogger("azure.identity").addHandler(logging.NullHandler())
    from edgectl_azure_iot_edge._sdk.login import credential  # noqa: PLC0415 - 0.3 s without need

    return BearerTokenCredentialPolicy(credential(), SCOPE)


def device_path(device: str) -> str:
    """Return a device identity's path."""
    return f"/devices/{quote(device, safe='')}"


def twin_path(device: str, module: str = "") -> str:
    """Return a twin's path."""
    path = f"/twins/{quote(device, safe='')}"
    return f"{path}/modules/{quote(module, safe='')}" if module else path


def configuration_path(configuration: str) -> str:
    """Return a configuration's path."""
    return f"/configurations/{quote(configuration, safe='')}"


def read_device(hub: Hub, device: str) -> Answer | None:
    """Return a device identity, or None."""
    return hub.find(device_path(device), f"look for '{device}'")


def read_twin(hub: Hub, device: str, module: str = "") -> Answer | None:
    """Return a twin, or None."""
    what = f"read the twin of '{device}'"
    path = twin_path(device, module)
    return hub.find(path, what)


def patch_twin(hub: Hub, device: str, patch: Document, what: str, *, etag: str) -> Answer:
    """Change a device's twin, if it is as it was read."""
    return hub.write(
        "PATCH",
        twin_path(device),
        what,
        body=patch,
        etag=etag,
    )


def list_configurations(hub: Hub) -> list[Document]:
    """Return all configurations of the hub; it holds 100 of each kind at most."""
    answer = hub.get(
        "/configurations",
        "list the hub's deployments",
    )
    return list(answer.document or [])


def invoke(hub: Hub, device: str, module: str, method: str, payload: Document) -> Document:
    """Call a direct method of a module and return what it answered."""
    body = {
        "methodName": method,
        "payload": payload,
        "responseTimeoutInSeconds": 5,
        "connectTimeoutInSeconds": 5,
    }
    answer = hub.write(
        "POST",
        f"{twin_path(device, module)}/methods",
        f"call '{method}' of '{module}' on '{device}'",
        body=body,
    )
    return dict(answer.document or {})
