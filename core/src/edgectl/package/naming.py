"""Names and versions of packages, and the tag that follows from them.

A tag has to be one that other tools can read from an OCI layout, so names are plain.
Source: OCI image-spec 1.1, annotations (grammar of ``org.opencontainers.image.ref.name``).
"""

from __future__ import annotations

import re

from edge_components.contract.package import Manifest
from edgectl.errors import PackageError

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_VERSION = re.compile(r"[A-Za-z0-9]+(?:[._+-][A-Za-z0-9]+)*")
_MAX_LENGTH = 128


def check_names(application: str, version: str) -> None:
    """Check that a package can be called so.

    Raises:
        PackageError: It cannot.
    """
    if not _matches(_NAME, application):
        raise PackageError(
            f"the application's name '{application}' is not allowed",
            hint="Use letters, digits, and single '.', '_' or '-' between them.",
        )
    if not _matches(_VERSION, version):
        raise PackageError(
            f"the version '{version}' is not allowed",
            hint="Use letters, digits, and single '.', '_', '+' or '-' between them.",
        )


def name_annotations(application: str, version: str) -> dict[str, str]:
    """Return the manifest annotations that say what a package is called."""
    return {TITLE: application, VERSION: version}


def package_tag(manifest: Manifest) -> str:
    """Return a package's tag, ``<application>:<version>``, or "" if it has no proper name."""
    application = manifest.annotations.get(TITLE, "")
    version = manifest.annotations.get(VERSION, "")
    if not _matches(_NAME, application) or not _matches(_VERSION, version):
        return ""
    return f"{application}:{version}"


def _matches(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= _MAX_LENGTH and pattern.fullmatch(text) is not None
