"""The images that pods of a release are made of, settled when it is packaged.

A tag may move, a release may not: the digests that the runtime's tag and the release's own image
had are written beside the release, and pods are made of these in every cluster, whenever.
"""

from __future__ import annotations

import tempfile
from importlib import metadata
from pathlib import Path

import msgspec

from edgectl.api import (
    MANIFEST_FILE,
    RELEASE_FILE,
    SIGNATURE_FILE,
    NotFoundError,
    PackageRequest,
    Record,
    RegistryError,
    append_layer,
    digest_hex,
    fetch_artifact_file,
    image_digest,
    parse_manifest,
    push_artifact,
    read_artifact,
)
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.layout import blob_path, read_blob
from edgectl_gke_edge.repository import images_tag, repository, runtime_image, volume_tag

KIND = "application/vnd.edgectl.images.v1+json"
FILE = "images.json"
DISTRIBUTION = "edgectl-gke-edge"


class Images(Record, frozen=True, kw_only=True):
    """Images by digest.

    Attributes:
        runtime: The runtime's.
        volume: The one with release and package for an image volume, or "".
    """

    runtime: str
    volume: str = ""


_IMAGES = msgspec.json.Decoder(Images)


def settle_images(account: Account, request: PackageRequest, *, with_volume: bool) -> int:
    """Write down the images of a release, and make the one for volumes; the bytes sent.

    A release whose images are settled keeps them.

    Raises:
        RegistryError: The registry refused, or has no runtime image.
    """
    release = request.release
    place = repository(account.config, release.application)
    known = _read(place, release.number)
    if known is not None and (known.volume or not with_volume):
        return 0
    sent = 0
    runtime = known.runtime if known is not None else _by_digest(runtime_reference(account))
    volume = ""
    if with_volume:
        target = f"{place}:{volume_tag(release.number)}"
        made = append_layer("scratch", volume_files(request), target)
        volume, sent = f"{place}@{made.digest}", made.uploaded_bytes
    content = msgspec.json.encode(Images(runtime=runtime, volume=volume), order="sorted")
    pushed = push_artifact(f"{place}:{images_tag(release.number)}", KIND, {FILE: content})
    return sent + pushed.uploaded_bytes


def images_of(account: Account, application: str, number: int) -> Images:
    """Return the images of a release.

    Raises:
        NotFoundError: They were not settled.
    """
    found = _read(repository(account.config, application), number)
    if found is None:
        raise NotFoundError(
            f"release {number} of '{application}' has no images in the registry",
            hint="the `package` step settles them; run `edgectl deploy` again",
        )
    return found


def planned_images(account: Account, application: str, number: int) -> Images:
    """Return the images that a release has, or would have; digests not known yet are zeros."""
    place = repository(account.config, application)
    known = _read(place, number)
    if known is not None:
        return known
    zeros = "sha256:" + "0" * 64
    return Images(runtime=_by_digest(runtime_reference(account)), volume=f"{place}@{zeros}")


def volume_files(request: PackageRequest) -> dict[str, bytes | Path]:
    """Return what an image volume holds: release, manifest, signature, and files by digest."""
    layout, digest = request.package.layout, request.package.digest
    manifest = read_blob(layout, digest)
    parsed = parse_manifest(manifest, digest=digest)
    blobs = {digest_hex(layer.digest): blob_path(layout, layer.digest) for layer in parsed.layers}
    return {
        RELEASE_FILE: request.release.envelope,
        MANIFEST_FILE: manifest,
        SIGNATURE_FILE: request.release.signature,
        **blobs,
    }


def runtime_reference(account: Account) -> str:
    """Return the runtime image as the settings name it."""
    return runtime_image(account.config, metadata.version(DISTRIBUTION))


def _by_digest(image: str) -> str:
    if "@sha256:" in image:
        return image
    try:
        digest = image_digest(image)
    except RegistryError as exc:
        raise RegistryError(
            f"the runtime's image '{image}' cannot be used: {exc.message}",
            hint="push it there, or name another in `runtime.image` of providers.gke; "
            "docs/providers/gke.md has how it is built",
            vendor_code=exc.vendor_code,
        ) from exc
    head, colon, tail = image.rpartition(":")
    name = head if colon and "/" not in tail else image
    return f"{name}@{digest}"


def _read(place: str, number: int) -> Images | None:
    artifact = read_artifact(f"{place}:{images_tag(number)}")
    file = artifact.file(FILE) if artifact is not None else None
    if file is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / FILE
        fetch_artifact_file(place, file, target)
        return _IMAGES.decode(target.read_bytes())
