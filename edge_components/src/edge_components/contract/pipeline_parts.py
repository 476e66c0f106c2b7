"""What every part of a pipeline has in common: strict records, bounded numbers, plain names.

An address may stand in the release (``url``), in the device's own file under a name
(``endpoint``), or in both: then the device's wins. Secrets stand on the device only.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

MAX_NAME = "^[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?$"
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=1 << 20)]
Bytes = Annotated[int, Meta(ge=1, le=1 << 40)]
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(pattern=MAX_NAME)]
Size = tuple[Annotated[int, Meta(ge=1, le=1 << 16)], Annotated[int, Meta(ge=1, le=1 << 16)]]


class Part(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A strict record; what has its default is not written."""


class Networked(Part, frozen=True, kw_only=True):
    """A part that talks to somebody.

    Attributes:
        url: Where, as the release says it; without user and password.
        endpoint: Name of an endpoint in the device's own file, which wins over ``url`` and is
            the only place for credentials.
    """

    url: str = ""
    endpoint: Name | None = None

    def __post_init__(self) -> None:
        """Refuse a part that names nobody, or holds a password.

        Raises:
            ValueError: With what is wrong.
        """
        if not self.url and self.endpoint is None:
            raise ValueError("names neither 'url' nor 'endpoint'")
        if "@" in self.url.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "has a user in 'url'; credentials belong into the device's file, under 'endpoint'"
            )
