"""What the API server answers when it refuses: ``Status`` objects with the reasons that exist.

Clients decide by ``reason`` and ``details``, people read ``message``. The words follow
apimachinery's ``api/errors``, because plugins and tests quote them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

Json = dict[str, Any]


@dataclass(frozen=True)
class Cause:
    """One reason of a refusal: machine word, sentence, and the path of the field."""

    reason: str
    message: str
    field: str = ""

    def to_json(self) -> Json:
        """Return the ``StatusCause``."""
        cause = {"reason": self.reason, "message": self.message}
        return {**cause, "field": self.field} if self.field else cause


@dataclass(frozen=True)
class Place:
    """Which resource a request is about; ``resource`` is the plural, or the kind for Invalid."""

    resource: str
    group: str = ""
    name: str = ""
    uid: str = ""

    @property
    def qualified(self) -> str:
        """The resource with its group, as messages name it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


class StatusError(Exception):
    """The server refuses a request.

    Attributes:
        code: HTTP status.
        reason: The machine-readable word, for example ``NotFound``.
        message: The sentence.
        details: ``Status.details``, or None.
    """

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def to_json(self) -> Json:
        """Return the ``Status`` object."""
        status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}

    @property
    def retry_after_s(self) -> int | None:
        """Seconds for a ``Retry-After`` header."""
        seconds = (self.details or {}).get("retryAfterSeconds")
        return int(seconds) if seconds else None


def _details(place: Place, kind: str | None = None, causes: Sequence[Cause] = ()) -> Json:
    found: Json = {"name": place.name, "group": place.group, "kind": kind or place.resource}
    found["uid"] = place.uid
    details = {key: value for key, value in found.items() if value}
    if causes:
        details["causes"] = [cause.to_json() for cause in causes]
    return details


def not_found(place: Place) -> StatusError:
    """There is no such object."""
    return StatusError(
        404, "NotFound", f'{place.qualified} "{place.name}" not found', _details(place)
    )


def no_such_path() -> StatusError:
    """There is no such resource at all."""
    message = "the server could not find the requested resource"
    return StatusError(404, "NotFound", message, {})


def already_exists(place: Place) -> StatusError:
    """The name is taken."""
    message = f'{place.qualified} "{place.name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(place))


def conflict(place: Place, why: str) -> StatusError:
    """The object changed, or it cannot be changed now."""
    message = f'Operation cannot be fulfilled on {place.qualified} "{place.name}": {why}'
    return StatusError(409, "Conflict", message, _details(place))


def stale(place: Place) -> StatusError:
    """The client's resourceVersion is an older one."""
    why = "the object has been modified; please apply your changes to the latest version"
    return conflict(place, f"{why} and try again")


def apply_conflict(message: str, causes: Sequence[Cause]) -> StatusError:
    """Another manager owns fields that are applied."""
    return StatusError(409, "Conflict", message, {"causes": [c.to_json() for c in causes]})


def bad_request(message: str) -> StatusError:
    """The request cannot be understood."""
    return StatusError(400, "BadRequest", message)


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """The object breaks rules; each cause names its field."""
    sentences = [f"{c.field}: {c.message}" if c.field else c.message for c in causes]
    told = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    place = Place(kind, group, name)
    message = f'{place.qualified} "{name}" is invalid: {told}'
    return StatusError(422, "Invalid", message, _details(place, causes=causes))


def forbidden(place: Place, why: str) -> StatusError:
    """Somebody may not do it, or admission refuses it."""
    name = f' "{place.name}"' if place.name else ""
    message = f"{place.qualified}{name} is forbidden: {why}"
    return StatusError(403, "Forbidden", message, _details(place))


def unauthorized() -> StatusError:
    """The token or certificate is not known."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def method_not_supported(place: Place, action: str) -> StatusError:
    """The resource has no such verb."""
    message = f'{action} is not supported on resources of kind "{place.qualified}"'
    return StatusError(405, "MethodNotAllowed", message, _details(place))


def unsupported_media(accepted: Sequence[str]) -> StatusError:
    """The body is of a type that the resource does not take."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return StatusError(415, "UnsupportedMediaType", message, {})


def expired(message: str) -> StatusError:
    """A resourceVersion or continue token is too old (410)."""
    return StatusError(410, "Expired", message)


def too_many(message: str, causes: Sequence[Cause] = (), retry_after_s: int = 0) -> StatusError:
    """Come again later; evictions that a disruption budget holds back answer so too."""
    details: Json = {"causes": [cause.to_json() for cause in causes]} if causes else {}
    if retry_after_s:
        details["retryAfterSeconds"] = retry_after_s
    return StatusError(429, "TooManyRequests", message, details)


def unavailable(message: str) -> StatusError:
    """Something behind the server does not answer."""
    return StatusError(503, "ServiceUnavailable", message, {})


@dataclass
class Problems:
    """Causes gathered while an object is checked."""

    causes: list[Cause] = field(default_factory=list)

    def required(self, path: str, detail: str = "") -> None:
        """A field is missing."""
        told = f"Required value: {detail}" if detail else "Required value"
        self.causes.append(Cause("FieldValueRequired", told, path))

    def invalid(self, path: str, value: object, detail: str) -> None:
        """A value breaks a rule."""
        self.causes.append(
            Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}", path)
        )

    def unsupported(self, path: str, value: object, supported: Sequence[str]) -> None:
        """A value is none of those that there are."""
        told = ", ".join(f'"{word}"' for word in sorted(supported))
        message = f"Unsupported value: {shown(value)}: supported values: {told}"
        self.causes.append(Cause("FieldValueNotSupported", message, path))

    def duplicate(self, path: str, value: object) -> None:
        """A list holds a key twice."""
        self.causes.append(Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", path))

    def forbidden(self, path: str, detail: str) -> None:
        """A field must not be set or changed."""
        self.causes.append(Cause("FieldValueForbidden", f"Forbidden: {detail}", path))


def shown(value: object) -> str:
    """Write a value as the server's messages do."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, (int, float)):
        return str(value)
    return msgspec.json.encode(value).decode()
