"""Which image a release's module has: the runtime's, or one with the package baked in."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from edgectl.api import (
    MANIFEST_FILE,
    RELEASE_FILE,
    SIGNATURE_FILE,
    NotFoundError,
    PackageRequest,
    RegistryError,
    append_layer,
    digest_hex,
    image_digest,
)
from edgectl_azure_iot_edge._sdk.content import blob_path, manifest_bytes, read_manifest
from edgectl_azure_iot_edge._sdk.history import MISSING
from edgectl_azure_iot_edge.config import AzureConfig

BAKED_DIR = "opt/edgectl/release"
BAKED_VARIABLE = "EDGECTL_BAKED"
"""Says in a container where its image has a release; what it holds is verified all the same."""
IMAGE = "edge-runtime"
DEVICE_SIDE = "edgectl-edge-components"


def runtime_image(config: AzureConfig) -> str:
    """Return the reference of the runtime's image, as configured."""
    if config.runtime.image:
        return config.runtime.image
    return f"{config.registry}/{config.prefix}/{IMAGE}:{installed_version()}"


def installed_version() -> str:
    """Return the version of the device side that is installed here."""
    # A tag has no plus sign, which versions between releases have.
    return importlib.metadata.version(DEVICE_SIDE).replace("+", "-")


def pinned_image(config: AzureConfig) -> str:
    """Return the runtime's image by digest, so that devices run what was there at the time.

    Raises:
        NotFoundError: The registry does not have it.
        RegistryError: The registry refused, or could not be reached.
    """
    reference = runtime_image(config)
    if "@sha256:" in reference:
        return reference
    digest = _digest(reference)
    name, _, tag = reference.rpartition(":")
    return f"{reference if '/' in tag else name}@{digest}"


def _digest(reference: str) -> str:
    try:
        return image_digest(reference)
    except RegistryError as exc:
        if exc.vendor_code not in MISSING:
            raise
        raise NotFoundError(
            f"the registry has no image '{reference}', which devices run the model with",
            hint="docs/providers/azure.md says how to make it; or set `runtime.image` of "
            "providers.azure",
            vendor_code=exc.vendor_code,
        ) from exc


def bake(reference: str, request: PackageRequest, image: str) -> tuple[str, int]:
    """Put a release and its package on top of the runtime's image, as one layer.

    Args:
        reference: Where the image goes, ``host/repository``; its tag is ``image-rN``.
        request: The package and its release.
        image: The runtime's image, by digest.

    Returns:
        The image's digest, and the bytes that really travelled.

    Raises:
        RegistryError: The registry refused, or could not be reached.
        PackageError: The store does not have the package.
    """
    release, layout = request.release, request.package.layout
    manifest = read_manifest(layout, release.package)
    files: dict[str, bytes | Path] = {
        RELEASE_FILE: release.envelope,
        MANIFEST_FILE: manifest_bytes(layout, release.package),
        SIGNATURE_FILE: release.signature,
    }
    for layer in manifest.layers:
        files[digest_hex(layer.digest)] = blob_path(layout, layer.digest)
    made = append_layer(
        image,
        {f"{BAKED_DIR}/{name}": content for name, content in files.items()},
        f"{reference}:{baked_tag(release.number)}",
        environment={BAKED_VARIABLE: f"/{BAKED_DIR}"},
    )
    return made.digest, made.uploaded_bytes


def baked_tag(number: int) -> str:
    """Return the tag of a release's own image."""
    return f"image-r{number}"


def release_image(config: AzureConfig, reference: str, number: int) -> str:
    """Return the image that a release's module has, by digest.

    Raises:
        NotFoundError: The registry does not have it.
        RegistryError: The registry refused, or could not be reached.
    """
    if not config.runtime.bake:
        return pinned_image(config)
    return f"{reference}@{_digest(f'{reference}:{baked_tag(number)}')}"
