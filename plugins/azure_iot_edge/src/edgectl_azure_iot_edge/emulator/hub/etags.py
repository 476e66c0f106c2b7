"""What a request's ``If-Match`` asks for. Pure.

Identities and twins take an ETag with or without quotes. Configurations take it only in quotes: an
unquoted one is answered as though there were none, with the conflict that a creation gets. An empty
ETag (``""``) is none; the service's own client sends it when it creates.
"""

from __future__ import annotations

from edgectl_azure_iot_edge.emulator.hub.errors import HubError


def wanted(header: str | None, *, quotes: bool = False) -> str | None:
    """Return what has to match: None for no condition, ``*``, or an ETag without quotes.

    Args:
        header: The request's ``If-Match``.
        quotes: Whether an ETag without quotes counts for nothing.
    """
    text = (header or "").strip()
    text = text.removeprefix("W/")
    if text in {"", '""'}:
        return None
    if text in {"*", '"*"'}:
        return "*"
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return None if quotes else text


def check(condition: str | None, etag: str) -> None:
    """Check a condition against what is there.

    Raises:
        HubError: ``PreconditionFailed``.
    """
    if condition not in {None, "*", etag}:
        raise HubError("PreconditionFailed", "PreconditionFailed, ETag may be invalid.")
