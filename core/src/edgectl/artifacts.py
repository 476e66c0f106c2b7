"""Artifacts in a registry for providers, without making every import of the API pay for HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgectl.package.artifact import Artifact, ArtifactFile


def push_artifact(
    reference: str,
    kind: str,
    files: Mapping[str, bytes | Path],
    *,
    annotations: Mapping[str, str] | None = None,
    subject: str = "",
    fixed: bool = False,
) -> Artifact:
    """Put files into a registry as an OCI artifact; what is there is not sent again.

    Args:
        reference: ``host[:port]/repository``, with a tag if it shall have one.
        kind: Its artifact type.
        files: Name to content, or to a file of this machine.
        annotations: Of its manifest.
        subject: The digest of what it is about, which is in the repository already, or "".
        fixed: Whether its tag stands for one content for ever.

    Raises:
        ConflictError: The tag is fixed, and there with another content.
        RegistryError: The registry refused, could not be reached, or lacks the subject.
        PackageError: A file cannot be read.
    """
    from edgectl.package import artifact  # noqa: PLC0415 - 0.3 s that only pushing is worth

    return artifact.push_artifact(
        reference, kind, files, annotations=annotations, subject=subject, fixed=fixed
    )


def read_artifact(reference: str) -> Artifact | None:
    """Return the artifact that a reference with a tag or digest names, None if there is none.

    Raises:
        RegistryError: The registry refused, or could not be reached.
        PackageError: What is there is no artifact.
    """
    from edgectl.package import artifact  # noqa: PLC0415 - as above

    return artifact.read_artifact(reference)


def fetch_artifact_file(reference: str, file: ArtifactFile, target: Path) -> None:
    """Bring a file of an artifact to this machine, whole or not at all.

    Raises:
        RegistryError: It is not there, or is other than its digest says.
        PackageError: The file cannot be written.
    """
    from edgectl.package import artifact  # noqa: PLC0415 - as above

    artifact.fetch_file(reference, file, target)


def artifact_tags(reference: str) -> tuple[str, ...]:
    """Return a repository's tags; none where there is no repository.

    Raises:
        RegistryError: The registry refused, or could not be reached.
    """
    from edgectl.package import artifact  # noqa: PLC0415 - as above

    return artifact.artifact_tags(reference)
