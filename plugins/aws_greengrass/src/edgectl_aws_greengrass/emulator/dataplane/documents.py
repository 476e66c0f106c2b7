"""Decides how the data plane's requests are read and its answers look. Pure.

Shapes: botocore's greengrassv2 ``ResolveComponentCandidates``, and what AWS's own nuclei send and
read (nucleus lite sends one requirement as ``{"requirements": ">=1.0.0"}``).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from edgectl_aws_greengrass.emulator.ports import (
    Candidate,
    CloudError,
    Platform,
    Resolved,
    RoleCredentials,
)


def wanted(body: bytes) -> tuple[tuple[Candidate, ...], Platform]:
    """Read the body of ``resolveComponentCandidates``.

    Raises:
        CloudError: ``ValidationException``.
    """
    try:
        request = json.loads(body)
        platform = request.get("platform") or {}
        return (
            tuple(_candidate(entry) for entry in request["componentCandidates"]),
            Platform(name=platform.get("name"), attributes=dict(platform.get("attributes") or {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise CloudError("ValidationException", f"The request cannot be read: {exc!r}") from exc


def _candidate(entry: dict[str, Any]) -> Candidate:
    return Candidate(
        name=str(entry["componentName"]),
        requirements={str(k): str(v) for k, v in (entry.get("versionRequirements") or {}).items()},
        version=entry.get("componentVersion"),
    )


def resolved(found: Iterable[Resolved]) -> dict[str, Any]:
    """Return the answer of ``resolveComponentCandidates``."""
    return {
        "resolvedComponentVersions": [
            {
                "arn": each.arn,
                "componentName": each.name,
                "componentVersion": each.version,
                "recipe": base64.b64encode(each.recipe).decode(),
            }
            for each in found
        ]
    }


def groups(found: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the answer of ``ListThingGroupsForCoreDevice``."""
    return {"thingGroups": [{"thingGroupName": name, "thingGroupArn": arn} for name, arn in found]}


def configuration(url: str, document: bytes) -> dict[str, Any]:
    """Return the answer of ``GetDeploymentConfiguration``: the document's address and digest."""
    digest = base64.b64encode(hashlib.sha256(document).digest()).decode()
    return {"preSignedUrl": url, "integrityCheck": {"algorithm": "SHA-256", "digest": digest}}


def credentials(found: RoleCredentials) -> dict[str, Any]:
    """Return the answer of the credentials endpoint."""
    return {
        "credentials": {
            "accessKeyId": found.access_key_id,
            "secretAccessKey": found.secret_access_key,
            "sessionToken": found.session_token,
            "expiration": found.expiration,
        }
    }
