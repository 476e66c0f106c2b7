"""The storage account's place on the web server: its address, its key, and who may call.

Azure ML's SDK makes a storage account's address of two texts that the services give it, as
``https://{account}.blob.{suffix}``. Names below ``localhost`` are resolved on few machines, so the
account calls itself ``localhost:PORT/NAME`` where the SDK reads it. The address that comes out is
``https://localhost:PORT/NAME.blob.SUFFIX``: an account in the path, which the Storage SDK knows
from storage emulators. ``NAME`` and ``NAME.blob.SUFFIX`` are both this account.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from werkzeug.wrappers import Request, Response

from edgectl_azure_iot_edge.emulator.blob import signing
from edgectl_azure_iot_edge.emulator.blob.errors import BlobError
from edgectl_azure_iot_edge.emulator.blob.service import OPERATIONS, Call, Service
from edgectl_azure_iot_edge.emulator.blob.store import Store
from edgectl_azure_iot_edge.emulator.directory import TokenError
from edgectl_azure_iot_edge.emulator.rooms import AzureFault, Controls
from edgectl_azure_iot_edge.emulator.site import Site

ACCOUNT = "edgectlstorage"
_AUDIENCE = "https://storage.azure.com"
_PATH = re.compile(rf"/({ACCOUNT}(?:\.blob\.[^/]+)?)(?:/([^/]*)(?:/(.*))?)?", re.DOTALL)
_HEADERS = "edgectl.headers"
_VERSION = re.compile(r"20\d\d-\d\d-\d\d")


def keep_names(environ: dict[str, Any], headers: Iterable[tuple[str, str]]) -> None:
    """Keep the names of headers as they came: WSGI makes ``_`` and ``-`` the same."""
    environ[_HEADERS] = {name.lower(): value for name, value in headers}


class BlobRoom:
    """One storage account.

    Attributes:
        store: What it keeps; Azure ML's jobs read and write it here.
        key: The account's key.
    """

    name = "blob"

    def __init__(self, site: Site) -> None:
        self._site = site
        self.store = Store(site.folder / "blob" / "containers")
        self.key = _key(site.folder / "blob" / "key")
        self._service = Service(self.store)

    @property
    def account_name(self) -> str:
        """What Azure ML's SDK has to be told as the account's name."""
        return f"localhost:{self._site.url.rpartition(':')[2]}/{ACCOUNT}"

    @property
    def url(self) -> str:
        """The account's address."""
        return f"https://{self.account_name}"

    def start(self) -> None:
        """Nothing runs."""

    def stop(self) -> None:
        """Nothing runs."""

    def settings(self) -> Mapping[str, str]:
        """There are none: whoever uses the account is told of it by Azure ML."""
        return {}

    def controls(self) -> Controls:
        """There are none."""
        return {}

    def sas(self, resource: str, *, permissions: str, kind: str, until: datetime) -> str:
        """Return a service SAS as a query string; see ``signing.make_sas``."""
        return signing.make_sas(
            self.key, ACCOUNT, resource, permissions=permissions, kind=kind, until=until
        )

    def serves(self, request: Request) -> bool:
        """Take what goes to the account."""
        return _PATH.fullmatch(request.path) is not None

    def operation(self, request: Request) -> str:
        """Name the request."""
        found = OPERATIONS.get(_key_of(request))
        return found[0] if found else ""

    def answer(self, request: Request) -> Response:
        """Answer as Blob storage does, errors included."""
        try:
            answer = self._answered(request)
        except BlobError as error:
            answer = _refused(error)
        answer.headers["x-ms-version"] = request.headers.get("x-ms-version", "")
        if "x-ms-client-request-id" in request.headers:
            answer.headers["x-ms-client-request-id"] = request.headers["x-ms-client-request-id"]
        return answer

    def refusal(self, fault: AzureFault) -> Response:
        """Word a fault as Blob storage does."""
        return _refused(BlobError(fault.code, fault.message, status=fault.status))

    def _answered(self, request: Request) -> Response:
        found = OPERATIONS.get(_key_of(request))
        if found is None:
            said = f"the emulator has no {request.method} with comp={request.args.get('comp', '')}"
            raise BlobError("NotImplemented", said)
        operation, permissions, action = found
        call = _call(request, self.url)
        self._authorize(request, call, permissions, action)
        if not _VERSION.fullmatch(call.headers.get("x-ms-version", call.query.get("sv", ""))):
            raise BlobError("InvalidHeaderValue", "The value of x-ms-version is not a version.")
        return self._service.answer(operation, call)

    def _authorize(self, request: Request, call: Call, permissions: str, action: str) -> None:
        authorization = call.headers.get("authorization", "")
        if authorization.startswith("Bearer "):
            self._check_token(authorization.removeprefix("Bearer "), action)
        elif authorization.startswith("SharedKey "):
            path = str(request.environ["RAW_URI"]).partition("?")[0]
            asked = signing.Asked(
                method=call.method, path=path, headers=call.headers, query=call.query
            )
            signing.check_shared_key(asked, authorization, self.key, self._site.now())
        elif "sig" in call.query:
            signing.check_sas(
                call.query,
                self.key,
                accounts=(ACCOUNT, self.account_name, request.path.split("/")[1]),
                container=call.container,
                blob=call.blob,
                needs=permissions,
                now=self._site.now(),
            )
        else:
            raise BlobError(
                "NoAuthenticationInformation",
                "Server failed to authenticate the request. Please refer to the information in "
                "the www-authenticate header.",
            )

    def _check_token(self, token: str, action: str) -> None:
        try:
            found = self._site.directory.check(token, _AUDIENCE)
        except TokenError as exc:
            raise BlobError("AuthenticationFailed", str(exc), status=401) from exc
        if not found.allows(action):
            raise BlobError(
                "AuthorizationPermissionMismatch",
                "This request is not authorized to perform this operation using this permission.",
            )


def _key_of(request: Request) -> tuple[str, str, str]:
    match = _PATH.fullmatch(request.path)
    kind = "account"
    if match is not None and match[2]:
        kind = "blob" if match[3] else "container"
    return request.method, kind, request.args.get("comp", "")


def _call(request: Request, endpoint: str) -> Call:
    raw = str(request.environ["RAW_URI"])
    path, _, query = raw.partition("?")
    match = _PATH.fullmatch(unquote(path))
    container, blob = (match[2] or "", match[3] or "") if match else ("", "")
    return Call(
        method=request.method,
        container=container,
        blob=blob,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers=dict(request.environ[_HEADERS]),
        body=request.get_data(cache=True),
        endpoint=endpoint,
    )


def _refused(error: BlobError) -> Response:
    answer = Response(error.body(), status=error.status, content_type="application/xml")
    answer.headers["x-ms-error-code"] = error.code
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = f"Bearer resource_id={_AUDIENCE}"
    return answer


def _key(file: Path) -> str:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(base64.b64encode(os.urandom(64)).decode())
    return file.read_text()
