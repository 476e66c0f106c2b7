"""A version folder as the agent lays it out, read for the runtime.

The agent has verified the release's signature and the package's digests; here the documents are
parsed again with all their bounds, because a folder may have been damaged since.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_components.contract.device import VERSION_MANIFEST, VERSION_PACKAGE, VERSION_RELEASE
from edge_components.contract.errors import ContractError
from edge_components.contract.hardware import PROFILES, HardwareProfile, choose_precision
from edge_components.contract.package import (
    PACKAGE_FILE,
    PackageInfo,
    Variant,
    layer_paths,
    parse_manifest,
    parse_package_info,
    parse_pipeline,
)
from edge_components.contract.pipeline import Pipeline
from edge_components.contract.release import (
    ReleaseDocument,
    parse_release,
    parse_release_envelope,
)
from edge_components.contract.state import Reason


class ActivationError(Exception):
    """A version cannot be used.

    Attributes:
        reason: One of the contract's reasons.
        detail: The sentence for people.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What a version folder holds.

    Attributes:
        digests: Of each of the package's files, by its path.
    """

    folder: Path
    release: ReleaseDocument
    info: PackageInfo
    pipeline: Pipeline | None
    digests: dict[str, str] = {}

    @property
    def package(self) -> Path:
        """The folder with the package's files."""
        return self.folder / VERSION_PACKAGE


def read_version(folder: Path) -> Version:
    """Read a version folder's documents.

    Raises:
        ActivationError: ``bad-package``.
    """
    try:
        envelope = parse_release_envelope((folder / VERSION_RELEASE).read_bytes())
        release = parse_release(envelope.payload_bytes())
        manifest = parse_manifest((folder / VERSION_MANIFEST).read_bytes(), digest=release.package)
        package = folder / VERSION_PACKAGE
        info = parse_package_info((package / PACKAGE_FILE).read_bytes(), manifest)
        pipeline = None
        if info.pipeline is not None:
            pipeline = parse_pipeline((package / info.pipeline).read_bytes())
    except OSError as exc:
        raise ActivationError(
            Reason.BAD_PACKAGE, f"'{exc.filename}' cannot be read: {exc.strerror}"
        ) from exc
    except ContractError as exc:
        raise ActivationError(Reason.BAD_PACKAGE, f"'{folder.name}': {exc}") from exc
    digests = {path: layer.digest for path, layer in layer_paths(manifest).items()}
    return Version(folder=folder, release=release, info=info, pipeline=pipeline, digests=digests)


def find_profile(name: str) -> HardwareProfile:
    """Return the hardware profile of that name.

    Raises:
        ActivationError: ``hardware-mismatch``, with the names that are known.
    """
    profile = PROFILES.get(name)
    if profile is None:
        known = ", ".join(sorted(PROFILES))
        raise ActivationError(
            Reason.HARDWARE_MISMATCH, f"unknown hardware '{name}'; known: {known}"
        )
    return profile


def candidates(version: Version, profile: HardwareProfile, wanted: str | None) -> list[Variant]:
    """Return the variants to try, best first; only one where a precision is required.

    Raises:
        ActivationError: ``hardware-mismatch`` if the package has nothing for this device.
    """
    wanted = wanted or version.release.settings.precision
    available = tuple(variant.precision for variant in version.info.variants)
    if choose_precision(profile, available, wanted) is None:
        asked = wanted or " or ".join(profile.precisions)
        raise ActivationError(
            Reason.HARDWARE_MISMATCH,
            f"{profile.name} needs {asked}, the package has {', '.join(available)}",
        )
    order = [wanted] if wanted is not None else profile.precisions
    found = (version.info.variant(precision) for precision in order)
    return [variant for variant in found if variant is not None]
