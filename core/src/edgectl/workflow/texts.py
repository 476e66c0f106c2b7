"""The short texts that a provider keeps for all operators of a target: read, swapped, decoded."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from edgectl.errors import ConflictError
from edgectl.provider import Provider
from edgectl.records import Target
from edgectl.requests import CoordinateRequest, CoordinateResult

T = TypeVar("T", bound=msgspec.Struct)


class Texts:
    """The shared texts of one application on one target."""

    def __init__(self, provider: Provider, target: Target, application: str) -> None:
        self._provider = provider
        self._application = application
        self.target = target

    def by(self, provider: Provider) -> Texts:
        """Return the same texts, reached through another instance of the provider."""
        return Texts(provider, self.target, self._application)

    def read(self, key: str) -> str | None:
        """Return what stands there."""
        return self._provider.coordinate(
            CoordinateRequest(
                target=self.target, application=self._application, key=key, read_only=True
            )
        ).value

    def swap(self, key: str, expect: str | None, value: str | None) -> CoordinateResult:
        """Put a text in the place of another, if that is what stands there."""
        return self._provider.coordinate(
            CoordinateRequest(
                target=self.target,
                application=self._application,
                key=key,
                expect=expect,
                value=value,
            )
        )

    def decode(self, text: str, decoder: msgspec.json.Decoder[T]) -> T:
        """Read a text.

        Raises:
            ConflictError: It is not one of ours.
        """
        try:
            return decoder.decode(text)
        except msgspec.DecodeError as exc:
            raise ConflictError(
                f"what stands at target '{self.target.name}' is not ours: {text[:80]!r}"
            ) from exc


def encode(value: msgspec.Struct) -> str:
    """Return a record as such a text."""
    return msgspec.json.encode(value).decode()
