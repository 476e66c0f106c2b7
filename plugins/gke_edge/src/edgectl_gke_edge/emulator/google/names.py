"""Resource names: ``projects/P/locations/L/clusters/C``, strict about each part."""

from __future__ import annotations

import re

from edgectl_gke_edge.emulator.google.errors import GoogleError, invalid, permission_denied

_ID = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_LOCATION = re.compile(r"-|global|[a-z]+-[a-z]+[0-9](-[a-z])?")
_FILTER = re.compile(r'\s*labels\.([A-Za-z0-9_./-]+)\s*[=:]\s*"?([^"\s]*)"?\s*')


def read(name: str, pattern: str, field: str = "name") -> tuple[str, ...]:
    """Return what stands for the ``*`` of a pattern.

    Raises:
        GoogleError: INVALID_ARGUMENT, it is written otherwise.
    """
    if not name:
        raise invalid(field, "a value is required")
    found = re.fullmatch(pattern.replace("*", "([^/]+)"), name)
    if found is None:
        raise invalid(field, f"'{name}' does not match the pattern '{pattern}'")
    return found.groups()


def check_id(value: str, field: str) -> str:
    """Return a new resource's id.

    Raises:
        GoogleError: INVALID_ARGUMENT, it is none (RFC 1035, at most 40 characters).
    """
    if not _ID.fullmatch(value):
        raise invalid(field, f"'{value}' must match the pattern '^{_ID.pattern}$'")
    return value


def check_location(value: str, field: str, *, any_allowed: bool = False) -> str:
    """Return a region or zone; ``-`` stands for all where that is allowed.

    Raises:
        GoogleError: INVALID_ARGUMENT.
    """
    if not _LOCATION.fullmatch(value) or (value == "-" and not any_allowed):
        raise invalid(field, f"Location '{value}' is not found or access is unauthorized.")
    return value


def other_project(project: str, permission: str) -> GoogleError:
    """Refuse a project that is not the caller's: nobody is told whether it is there."""
    return permission_denied(permission, f"projects/{project}")


def label_filter(text: str) -> dict[str, str]:
    """Read a list's filter: labels joined by AND, of all that AIP-160 allows.

    Raises:
        GoogleError: INVALID_ARGUMENT for any other filter.
    """
    wanted: dict[str, str] = {}
    for part in re.split(r"\s+AND\s+", text.strip()) if text.strip() else []:
        found = _FILTER.fullmatch(part)
        if found is None:
            raise invalid("filter", f"'{part}' is not supported")
        wanted[found[1]] = found[2]
    return wanted
