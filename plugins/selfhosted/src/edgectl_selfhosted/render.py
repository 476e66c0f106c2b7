"""A release as hawkBit documents: software modules, a distribution set, and our mark on both.

One distribution set per release (name = application, version = release number), made of
modules whose version is a digest of what is in them, so that equal content is sent once:

- ``<app>.<precision>``: the weights of one variant;
- ``<app>.package``: the package's manifest and every other layer, in parts of at most 20 files;
- ``<app>.delta``: deltas for devices with an earlier package, by ``delta_file_name``;
- ``<app>.release``: the release's envelope and the package's signature.

Layers are files named ``sha256-<hex>``; a device finds them by content, whatever module they are
in. Everything here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

import msgspec

from edgectl.api import (
    FILEPATH,
    MANIFEST_FILE,
    RELEASE_FILE,
    SIGNATURE_FILE,
    WEIGHT_TYPE,
    Delta,
    Descriptor,
    LimitError,
    Manifest,
    PackageError,
    PackageInfo,
    Release,
    ReleaseRecord,
    canonical_json,
    delta_file_name,
    sha256_digest,
)

VENDOR = "edgectl"
MODULE_TYPE = "application"
SET_TYPE = "app"
MARK = "edgectl/v1"
MAX_FILES = 20  # hawkBit's default quota of artifacts in a module
MAX_FILE_BYTES = 1 << 30  # hawkBit's default quota for one artifact
MAX_DESCRIPTION = 512
_VERSION_CHARS = 32
_MARK = re.compile(
    r"edgectl/v1 package=(sha256:[0-9a-f]{64}) content=(sha256:[0-9a-f]{64}) version=(\S*)"
)


class ArtifactPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a module; ``data`` is None where the content is a blob of the package's layout."""

    name: str
    digest: str
    size: int
    data: bytes | None = None


class ModulePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A software module that has to be there, with exactly these files."""

    name: str
    version: str
    artifacts: tuple[ArtifactPlan, ...]


def release_modules(
    release: Release, manifest_bytes: bytes, manifest: Manifest, info: PackageInfo
) -> tuple[ModulePlan, ...]:
    """Return the modules of a release, weights first and the release itself last.

    Raises:
        LimitError: A file is larger than hawkBit takes.
        PackageError: A file is empty, which hawkBit refuses.
    """
    application = release.application
    weights = _weights(manifest, info)
    rest = [layer for layer in manifest.layers if layer.media_type != WEIGHT_TYPE]
    package = [_given(MANIFEST_FILE, manifest_bytes), *_layers(rest)]
    modules = [
        module
        for precision, layers in weights.items()
        for module in _modules(f"{application}.{precision}", _layers(layers))
    ]
    modules += _modules(f"{application}.package", package)
    return (*modules, *signed_modules(release, release.signature))


def delta_modules(application: str, deltas: Iterable[Delta]) -> tuple[ModulePlan, ...]:
    """Return the modules that hold deltas; of two for the same files the smaller one is taken."""
    offered = sorted((file for delta in deltas for file in delta.files), key=lambda one: -one.size)
    files = {delta_file_name(file.old, file.new): file for file in offered}
    return tuple(
        _modules(
            f"{application}.delta",
            [
                ArtifactPlan(name=name, digest=file.digest, size=file.size)
                for name, file in sorted(files.items())
                if file.size <= MAX_FILE_BYTES
            ],
        )
    )


def release_module_name(application: str) -> str:
    """Return the name of the module that holds a release's envelope and signature."""
    return f"{application}.release"


def signed_modules(release: Release, signature: bytes) -> tuple[ModulePlan, ...]:
    """Return the module of the release itself: its envelope and its package's signature."""
    signed = [_given(RELEASE_FILE, release.envelope), _given(SIGNATURE_FILE, signature)]
    return tuple(_modules(release_module_name(release.application), signed))


def set_description(release: Release) -> str:
    """Return the description that marks a distribution set as ours and says what it holds.

    Raises:
        LimitError: The application's version is too long for hawkBit's description.
    """
    document = release.document
    text = (
        f"{MARK} package={document.package} content={document.content_digest()}"
        f" version={quote(document.version, safe='+')}"
    )
    if len(text) > MAX_DESCRIPTION:
        raise LimitError(f"the version '{document.version[:40]}…' is too long for hawkBit")
    return text


def release_record(
    name: str, version: str, description: str | None, created_at: int | None, *, application: str
) -> ReleaseRecord | None:
    """Read a distribution set as a release; None if it is not one of ours.

    Args:
        name: The set's name.
        version: The set's version.
        description: The set's description.
        created_at: Milliseconds since 1970 UTC.
        application: Whose releases are asked for.
    """
    mark = _MARK.fullmatch(description or "")
    if name != application or mark is None or not re.fullmatch(r"[1-9][0-9]{0,15}", version):
        return None
    return ReleaseRecord(
        number=int(version),
        package=mark[1],
        version=unquote(mark[3]),
        content=mark[2],
        created_at=None if created_at is None else created_at / 1000,
    )


def module_body(module: ModulePlan) -> dict[str, str]:
    """Return what creates a software module."""
    return {
        "type": MODULE_TYPE,
        "name": module.name,
        "version": module.version,
        "vendor": VENDOR,
    }


def set_body(release: Release, module_ids: Iterable[int]) -> dict[str, object]:
    """Return what creates a release's distribution set."""
    return {
        "type": SET_TYPE,
        "name": release.application,
        "version": str(release.number),
        "description": set_description(release),
        "modules": [{"id": module_id} for module_id in module_ids],
    }


def assignment_body(devices: Iterable[str]) -> list[dict[str, str]]:
    """Return what assigns a set to devices; the device's agent decides when, so ``forced``."""
    return [{"id": device, "type": "forced"} for device in devices]


def missing_files(module: ModulePlan, there: dict[str, str]) -> tuple[ArtifactPlan, ...]:
    """Return the files that a module still needs.

    Args:
        module: What has to be there.
        there: Files that are there: name to sha256 digest.

    Raises:
        PackageError: The module holds a file that it must not hold, or one with other content.
    """
    wanted = {artifact.name: artifact.digest for artifact in module.artifacts}
    for name, digest in there.items():
        if wanted.get(name) != digest:
            raise PackageError(f"it holds '{name}' with content {digest}")
    return tuple(artifact for artifact in module.artifacts if artifact.name not in there)


def _weights(manifest: Manifest, info: PackageInfo) -> dict[str, list[Descriptor]]:
    """Return the weight layers by variant; a layer of several variants counts for the first."""
    by_path = {
        layer.annotations[FILEPATH]: layer
        for layer in manifest.layers
        if layer.media_type == WEIGHT_TYPE
    }
    found: dict[str, list[Descriptor]] = {}
    for variant in info.variants:
        for path in dict.fromkeys((variant.path, *variant.files)):
            if (layer := by_path.pop(path, None)) is not None:
                found.setdefault(variant.precision, []).append(layer)
    if by_path:
        found["weights"] = list(by_path.values())
    return found


def _layers(layers: Iterable[Descriptor]) -> list[ArtifactPlan]:
    plans = {}
    for layer in layers:
        path = layer.annotations[FILEPATH]
        if layer.size > MAX_FILE_BYTES:
            raise LimitError(
                f"'{path}' has {layer.size} bytes, hawkBit takes files of {MAX_FILE_BYTES} at most",
                hint="store the weights as several external data files, or take a smaller variant",
            )
        if layer.size == 0:
            raise PackageError(f"'{path}' is empty, and hawkBit takes no empty file")
        name = layer.digest.replace(":", "-")
        plans[name] = ArtifactPlan(name=name, digest=layer.digest, size=layer.size)
    return [plans[name] for name in sorted(plans)]


def _given(name: str, data: bytes) -> ArtifactPlan:
    return ArtifactPlan(name=name, digest=sha256_digest(data), size=len(data), data=data)


def _modules(name: str, artifacts: Sequence[ArtifactPlan]) -> list[ModulePlan]:
    parts = [artifacts[at : at + MAX_FILES] for at in range(0, len(artifacts), MAX_FILES)]
    return [
        ModulePlan(
            name=name if index == 0 else f"{name}.{index + 1}",
            version=_version(part),
            artifacts=tuple(part),
        )
        for index, part in enumerate(parts)
    ]


def _version(artifacts: Iterable[ArtifactPlan]) -> str:
    files = {artifact.name: artifact.digest for artifact in artifacts}
    return sha256_digest(canonical_json(files)).removeprefix("sha256:")[:_VERSION_CHARS]
