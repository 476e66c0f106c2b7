"""The log-in endpoints of Microsoft Entra ID that azure-identity and the Azure CLI ask.

Client credentials only. ``/metadata/endpoints`` is Azure Resource Manager's list of clouds.
Set ``AZURE_AUTHORITY_HOST`` to the server's URL; a credential needs
``disable_instance_discovery=True`` for an authority that Microsoft does not know, as in private
clouds, else MSAL asks login.microsoftonline.com about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec
from werkzeug.wrappers import Request, Response

from edgectl_azure_iot_edge.emulator.directory import TokenError
from edgectl_azure_iot_edge.emulator.rooms import AzureFault, Controls
from edgectl_azure_iot_edge.emulator.site import Site

_TOKEN = re.compile(r"/(?P<tenant>[^/]+)/oauth2(/v2\.0)?/token")
_OPENID = re.compile(r"/(?P<tenant>[^/]+)/(v2\.0/)?\.well-known/openid-configuration")
_DISCOVERY = "/common/discovery/instance"
_STATUS = {"AADSTS7000215": 401}


class LoginRoom:
    """Microsoft Entra ID."""

    name = "login"

    def __init__(self, site: Site) -> None:
        self._site = site

    def start(self) -> None:
        """Nothing runs."""

    def stop(self) -> None:
        """Nothing runs."""

    def settings(self) -> Mapping[str, str]:
        """Return the log-in of the account's administrator."""
        administrator = self._site.directory.administrator
        return {
            "AZURE_AUTHORITY_HOST": self._site.url,
            "AZURE_TENANT_ID": self._site.tenant,
            "AZURE_CLIENT_ID": administrator.client_id,
            "AZURE_CLIENT_SECRET": administrator.secret,
        }

    def controls(self) -> Controls:
        """There are none."""
        return {}

    def serves(self, request: Request) -> bool:
        """Take log-ins and what describes them."""
        return bool(self.operation(request))

    def operation(self, request: Request) -> str:
        """Name the request."""
        if _TOKEN.fullmatch(request.path):
            return "Token"
        if _OPENID.fullmatch(request.path):
            return "OpenIdConfiguration"
        return "Discovery" if request.path == _DISCOVERY else ""

    def answer(self, request: Request) -> Response:
        """Answer in JSON."""
        if found := _OPENID.fullmatch(request.path):
            return _json(self._described(found["tenant"]))
        if request.path == _DISCOVERY:
            return _json(self._discovered())
        return self._token(request)

    def refusal(self, fault: AzureFault) -> Response:
        """Word an error of OAuth 2."""
        return _error(fault.code, fault.message, fault.status or 400)

    def _token(self, request: Request) -> Response:
        form = parse_qs(request.get_data(cache=True).decode())
        given = {name: values[0] for name, values in form.items()}
        if given.get("grant_type") != "client_credentials":
            said = f"the grant type '{given.get('grant_type')}' is not served here"
            return _error("unsupported_grant_type", said, 400)
        scope = given.get("scope") or given.get("resource", "")
        wanted = next((s for s in scope.split() if "://" in s), "")
        if not wanted:
            return _error("invalid_scope", "AADSTS70011: the scope names no resource", 400)
        try:
            token, life_s = self._site.directory.log_in(
                given.get("client_id", ""), given.get("client_secret", ""), wanted
            )
        except TokenError as exc:
            kind = "invalid_client" if exc.code in _STATUS else "unauthorized_client"
            return _error(kind, f"{exc.code}: {exc}", _STATUS.get(exc.code, 400))
        return _json(
            {
                "token_type": "Bearer",
                "expires_in": life_s,
                "ext_expires_in": life_s,
                "access_token": token,
            }
        )

    def _described(self, tenant: str) -> dict[str, object]:
        base = f"{self._site.url}/{tenant}"
        return {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "tenant_region_scope": "EU",
            "cloud_instance_name": "emulator",
        }

    def _discovered(self) -> dict[str, object]:
        host = self._site.url.removeprefix("https://")
        return {
            "tenant_discovery_endpoint": (
                f"{self._site.url}/{self._site.tenant}/v2.0/.well-known/openid-configuration"
            ),
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }


def _json(document: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status=status, content_type="application/json")


def _error(kind: str, said: str, status: int) -> Response:
    return _json({"error": kind, "error_description": said, "error_codes": []}, status)
