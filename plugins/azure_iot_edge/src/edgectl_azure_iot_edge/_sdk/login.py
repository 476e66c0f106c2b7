"""Who calls: azure-identity's own chain, also where the authority is a private one."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from azure.identity import AzureAuthorityHosts, DefaultAzureCredential

_KNOWN = frozenset(
    {
        AzureAuthorityHosts.AZURE_PUBLIC_CLOUD,
        AzureAuthorityHosts.AZURE_GOVERNMENT,
        AzureAuthorityHosts.AZURE_CHINA,
    }
)


def credential() -> DefaultAzureCredential:
    """Return the credentials of this machine's user.

    An authority that Microsoft does not know (``AZURE_AUTHORITY_HOST``: Azure Stack, the emulator)
    is taken at its word; to ask login.microsoftonline.com about it would fail.
    """
    host = os.environ.get("AZURE_AUTHORITY_HOST", "")
    name = urlsplit(host if "://" in host else f"https://{host}").hostname or ""
    private = bool(host) and name not in _KNOWN
    return DefaultAzureCredential(disable_instance_discovery=private)
