"""Whom the pipeline talks to: the device's own file first, then what the release says.

A release is signed by a publisher who knows the model; the address of a site's broker, and every
secret, is known on the device. So a release may name an address, an endpoint, or both, and the
device has the last word.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from edge_components.contract.device import EndpointSection, PipelineSection
from edge_components.contract.pipeline import Networked
from edge_components.pipeline.errors import PipelineError


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved address with what it takes to be let in.

    Attributes:
        url: Where.
        section: The device's word on it.
    """

    url: str
    section: EndpointSection = EndpointSection()

    @property
    def shown(self) -> str:
        """The address without user, password and query, for messages."""
        parts = urlsplit(self.url)
        if not parts.scheme:
            return self.url
        host = parts.hostname or ""
        with contextlib.suppress(ValueError):
            host = f"{host}:{parts.port}" if parts.port else host
        return f"{parts.scheme}://{host}{parts.path}"

    def authorization(self) -> str | None:
        """Return the value of an HTTP ``Authorization`` header, or None.

        Raises:
            PipelineError: A file cannot be read.
        """
        section = self.section
        if section.token_file:
            return f"Bearer {read_secret(section.token_file)}"
        if section.username:
            from urllib3.util import make_headers  # noqa: PLC0415  # only where it is needed

            basic = f"{section.username}:{self.password()}"
            return make_headers(basic_auth=basic)["authorization"]
        return None

    def password(self) -> str:
        """Return the password, "" where there is none.

        Raises:
            PipelineError: Its file cannot be read.
        """
        return read_secret(self.section.password_file) if self.section.password_file else ""


def resolve(part: Networked, device: PipelineSection, schemes: frozenset[str]) -> Endpoint:
    """Return whom a part of the pipeline talks to.

    Args:
        part: What the release says.
        device: What the device says.
        schemes: The kinds of address that it can use; "" for a path.

    Raises:
        PipelineError: Nobody says where, or it is no such address.
    """
    section = device.endpoints.get(part.endpoint or "", EndpointSection())
    url = section.url or (part.url if device.release_urls else "")
    if not url:
        raise PipelineError(_nowhere(part, device))
    endpoint = Endpoint(url=url, section=section)
    try:
        scheme = urlsplit(url).scheme
        _ = urlsplit(url).port
    except ValueError:  # its message holds a piece of the address, perhaps of the password
        raise PipelineError("an endpoint's url cannot be read") from None
    if scheme not in schemes:
        known = ", ".join(f"{one}://" for one in sorted(schemes) if one)
        raise PipelineError(f"'{endpoint.shown}' begins with none of {known}")
    return endpoint


def read_secret(path: str) -> str:
    """Return the first line of a file.

    Raises:
        PipelineError: It cannot be read, or is empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise PipelineError(f"'{path}' cannot be read: {reason}") from exc
    if not text:
        raise PipelineError(f"'{path}' is empty")
    return text


def _nowhere(part: Networked, device: PipelineSection) -> str:
    if part.endpoint is not None:
        known = ", ".join(f"'{name}'" for name in sorted(device.endpoints)) or "none"
        return (
            f"the device's file has no endpoint '{part.endpoint}' with a url (pipeline.endpoints; "
            f"it has {known})"
        )
    return f"'{part.url}': this device takes no address from a release (release_urls is false)"
